"""Runs pushes and rollbacks in separate processes that can be killed."""

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
    """Runs the executor on a blessed model; `emulator` is the address of the Cloud Storage emulator."""
    from tfx.types import standard_artifacts

    from components.model_pusher.executor import Executor

    _use_emulator(emulator)
    artifact, blessing, pushed = (
        standard_artifacts.Model(),
        standard_artifacts.ModelBlessing(),
        standard_artifacts.PushedModel(),
    )
    artifact.uri = model
    blessing.set_int_custom_property("blessed", 1)
    pushed.uri = f"{model}-pushed"
    Executor().Do(
        {"model": [artifact], "model_blessing": [blessing]},
        {"pushed_model": [pushed]},
        {**PROPERTIES, "destination": destination},
    )


def roll_back(number: int, destination: str, emulator: str = "") -> None:
    """Rolls back as `catsdogs rollback` does."""
    from serving.repository.model_repository import open_repository
    from serving.repository.storage import PushConfig

    _use_emulator(emulator)
    open_repository(destination, PushConfig("catsdogs", "/models/catsdogs", 3)).roll_back(number)


def _use_emulator(emulator: str) -> None:
    """Directs this process to the emulator; shortens the wait for servers, as none watches."""
    from serving.repository import object_store

    os.environ["STORAGE_EMULATOR_HOST"] = emulator
    object_store._LOAD_SECONDS = 0.05


def run_to_end(action: Callable[..., None], *arguments: Any) -> float:
    """Runs an action to its end; returns its duration in seconds."""
    process, started_signal = _start(action, arguments)
    started_signal.recv()
    started = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - started


def kill_after(seconds: float, action: Callable[..., None], *arguments: Any) -> bool:
    """Kills an action after some seconds; returns True if it was still running."""
    process, started_signal = _start(action, arguments)
    started_signal.recv()
    time.sleep(seconds)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def kill_at_random(count: int, seed: int, duration: float, attempt: Callable[[float], bool]) -> None:
    """Kills an action at random moments, one in each of `count` equal parts of its duration.

    Args:
        count: How many times the action is killed.
        seed: Seed of the moments.
        duration: Measured duration of the action in seconds; too long if the machine was busy.
        attempt: Kills the action after some seconds; returns True if it was still running. Other attempts do
            not count.
    """
    chance = random.Random(seed)
    tries = 0
    for index in range(count):
        while not attempt(duration * (index + chance.random()) / count):
            duration *= 0.8
            tries += 1
            assert tries < 2 * count, "the action is almost never running when it is killed"


def _start(action: Callable[..., None], arguments: tuple[Any, ...]) -> tuple[Any, Connection]:
    receiver, sender = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_run, args=(sender, action, arguments))
    process.start()
    return process, receiver


def _run(started_signal: Connection, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    import serving.repository.object_store  # noqa: F401

    started_signal.send(None)
    action(*arguments)


def model_artifact(folder: Path, save: Callable[[Path, int], Path], files: int = 0) -> Path:
    """Creates a model artifact with `files` asset files."""
    saved = save(folder / "Format-Serving", 1)
    for entry in saved.iterdir():
        entry.rename(folder / "Format-Serving" / entry.name)
    saved.rmdir()
    assets = folder / "Format-Serving" / "assets"
    assets.mkdir(exist_ok=True)
    for index in range(files):
        (assets / f"{index}.txt").write_text(f"asset {index}\n" * 200)
    return folder


def change_model(model: Path, text: str) -> None:
    """Turns the artifact into another model with the same predictions."""
    (model / "Format-Serving" / "assets" / "which.txt").write_text(text)
