"""Pushes and rollbacks in processes of their own, which tell when they begin, and may be killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PROPERTIES = {
    "base_path": "/models/catsdogs",
    "keep_versions": 3,
    "model_name": "catsdogs",
    "code_fingerprints": "{}",
}

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["components.model_pusher.executor", "serving.repository.object_store"])


def push(model: str, destination: str, emulator: str = "") -> None:
    """Runs the real executor on a blessed model; `emulator` is where gs:// is."""
    from tfx.types import standard_artifacts

    from components.model_pusher.executor import Executor

    _use(emulator)
    found, blessing, pushed = (
        standard_artifacts.Model(),
        standard_artifacts.ModelBlessing(),
        standard_artifacts.PushedModel(),
    )
    found.uri = model
    blessing.set_int_custom_property("blessed", 1)
    pushed.uri = f"{model}-pushed"
    Executor().Do(
        {"model": [found], "model_blessing": [blessing]},
        {"pushed_model": [pushed]},
        {**PROPERTIES, "destination": destination},
    )


def roll_back(number: int, destination: str, emulator: str = "") -> None:
    """Rolls back as `catsdogs rollback` does."""
    from serving.repository.publish import open_repository
    from serving.repository.storage import PushConfig

    _use(emulator)
    open_repository(destination, PushConfig("catsdogs", "/models/catsdogs", 3)).roll_back(number)


def _use(emulator: str) -> None:
    """Points to an emulated bucket, which no server watches: its loading is not waited for."""
    from serving.repository import object_store

    os.environ["STORAGE_EMULATOR_HOST"] = emulator
    object_store._SETTLED = 0.05


def in_full(act: Callable[..., None], *arguments: Any) -> float:
    """Lets an act come to its end; returns how long it took, in seconds."""
    process, begun = _start(act, arguments)
    begun.recv()
    started = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - started


def after(seconds: float, act: Callable[..., None], *arguments: Any) -> bool:
    """Kills an act after so long; returns whether it was still at work."""
    process, begun = _start(act, arguments)
    begun.recv()
    time.sleep(seconds)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def at_random(count: int, seed: int, duration: float, attempt: Callable[[float], bool]) -> None:
    """Has an act killed at random moments, one in each of as many equal parts of its duration.

    Args:
        count: How many times.
        seed: Of the moments.
        duration: How long the act took once, in seconds; on a busy machine that may have been far too long.
        attempt: Kills it after so many seconds; returns whether it was still at work, or else it does not
            count.
    """
    chance = random.Random(seed)
    tries = 0
    for index in range(count):
        while not attempt(duration * (index + chance.random()) / count):
            duration *= 0.8
            tries += 1
            assert tries < 2 * count, "it is hardly ever at work when it is killed"


def _start(act: Callable[..., None], arguments: tuple[Any, ...]) -> tuple[Any, Connection]:
    receives, sends = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_run, args=(sends, act, arguments))
    process.start()
    return process, receives


def _run(begun: Connection, act: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    import serving.repository.object_store  # noqa: F401

    begun.send(None)
    act(*arguments)


def artifact(folder: Path, save: Callable[[Path, int], Path], files: int = 0) -> Path:
    """Makes the artifact of a model, with so many files beside its graph."""
    saved = save(folder / "Format-Serving", 1)
    for entry in saved.iterdir():
        entry.rename(folder / "Format-Serving" / entry.name)
    saved.rmdir()
    assets = folder / "Format-Serving" / "assets"
    assets.mkdir(exist_ok=True)
    for index in range(files):
        (assets / f"{index}.txt").write_text(f"asset {index}\n" * 200)
    return folder


def renew(model: Path, text: str) -> None:
    """Makes another model of it, which answers the same."""
    (model / "Format-Serving" / "assets" / "which.txt").write_text(text)
