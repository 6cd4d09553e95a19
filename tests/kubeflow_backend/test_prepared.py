"""Commands in forks of a prepared Python: they must not tell it from one of their own."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubeflow_backend.containers import Container, Subprocesses
from tests.kubeflow_backend.prepared import Prepared
from tests.processes import mark, marked

IMAGE = "registry.example/small@sha256:" + "0" * 64
LIBRARY = """
import logging, os
logging.basicConfig()  # as absl does on its first message, and some libraries have one for their import
os.environ["SET_BY_LIBRARY"] = "1"  # as some do for TensorFlow
"""
TELLS = """
import json, logging, os, signal, sys, tempfile, ours
logging.basicConfig(level=logging.INFO, format="logged: %(message)s")
import library
names = {"PATH", "PYTHONPATH", "HOME", "TMPDIR", "CATSDOGS_LAUNCHER_ROOT", "ANIMAL", "CATSDOGS_TEST"}
names.add("SET_BY_LIBRARY")
print("to stderr", file=sys.stderr)
logging.info("a message")
print(json.dumps({
    "module": __name__, "arguments": sys.argv[1:], "file": __file__, "folder": os.getcwd(), "ours": ours.TEXT,
    "environment": {name: os.environ.get(name) for name in names}, "others": "SECRET" in os.environ,
    "temporary": tempfile.gettempdir(), "stdin": sys.stdin.read(), "path": sys.path[:2],
    "waits_for_children": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
}))
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "tells.py").write_text(TELLS)
    (folder / "ours.py").write_text("TEXT = 'of the image'")
    (folder / "library.py").write_text(LIBRARY)
    return folder


@pytest.fixture
def prepared(tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prepared]:
    monkeypatch.setenv("SECRET", "of this machine")
    environment = mark(tmp_path) | {"PYTHONPATH": str(packages)}
    with Prepared(tmp_path / "home", ("library",), {IMAGE: packages}, None, environment) as containers:
        yield containers


def command(tmp_path: Path, module: str, *arguments: str, deadline: int | None = None) -> Container:
    pod = tmp_path / "pod"
    pod.mkdir(exist_ok=True)
    (tmp_path / "log").unlink(missing_ok=True)
    whole = ["python", "-m", module, *arguments]
    return Container("task", IMAGE, whole, {"ANIMAL": "cat"}, pod, {}, tmp_path / "log", deadline)


def test_a_fork_is_as_a_process_of_its_own(tmp_path: Path, packages: Path, prepared: Prepared) -> None:
    results = []
    for containers in (Subprocesses({IMAGE: packages}, None, mark(tmp_path)), prepared):
        assert containers.run(command(tmp_path, "tells", "a", "b c")) == 0
        *errors, output = (tmp_path / "log").read_text().splitlines()
        assert errors == ["to stderr", "logged: a message"]
        results.append(json.loads(output))
    assert results[0] == results[1]
    assert results[0]["ours"] == "of the image"
    assert results[0]["environment"]["SET_BY_LIBRARY"] == "1"
    assert not results[0]["others"]


@pytest.mark.parametrize(
    ("code", "status", "last_line"),
    [
        ("raise SystemExit(4)", 4, ""),
        ("raise ValueError('no')", 1, "ValueError: no"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
    ],
)
def test_the_exit_status_is_the_command_s(
    tmp_path: Path, packages: Path, prepared: Prepared, code: str, status: int, last_line: str
) -> None:
    (packages / "ends.py").write_text(code)
    assert prepared.run(command(tmp_path, "ends")) == status
    assert ((tmp_path / "log").read_text().splitlines() or [""])[-1] == last_line


def test_it_is_killed_at_its_deadline(tmp_path: Path, packages: Path, prepared: Prepared) -> None:
    (packages / "sleeps.py").write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    started = time.monotonic()
    assert prepared.run(command(tmp_path, "sleeps", deadline=2)) == -signal.SIGKILL
    assert 2 <= time.monotonic() - started < 60
    assert not Path("/proc", (tmp_path / "log").read_text().strip()).exists()


def test_it_ends_with_its_context(tmp_path: Path, packages: Path) -> None:
    with Prepared(tmp_path / "home", (), {IMAGE: packages}, None, mark(tmp_path)) as containers:
        assert containers.run(command(tmp_path, "this")) == 0
        [process] = marked(tmp_path)
        assert sys.executable in process
    assert marked(tmp_path) == []
