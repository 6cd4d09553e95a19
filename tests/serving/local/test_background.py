from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.local import background
from tests.serving import models
from tests.serving.local.rest_server import rest_server

PYTHON = [sys.executable, "-S", "-c"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a model that works, one that does not, one without versions."""
    folder = tmp_path_factory.mktemp("served")
    models.half_plus_two(folder / "half")
    (folder / "bad" / "1").mkdir(parents=True)
    (folder / "bad" / "1" / "saved_model.pb").write_bytes(b"no model")
    (folder / "none").mkdir()
    names = ("half", "bad", "none")
    with rest_server({name: folder / name for name in names}, folder / "models.config") as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with background.started(["sleep", "600"], tmp_path / "log") as process:
        yield process


def test_a_model_that_answers_is_waited_for(
    url: str, alive: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody is there
    background.wait_until_ready(alive, url, "half", 30, tmp_path / "log")


def test_a_model_that_cannot_be_loaded_is_told_with_the_reason(
    url: str, alive: subprocess.Popen[str], tmp_path: Path
) -> None:
    with pytest.raises(background.LoadFailed, match="bad.*saved_model.pb"):
        background.wait_until_ready(alive, url, "bad", 30, tmp_path / "log")


def test_what_does_not_come_is_not_waited_for_forever(
    url: str, alive: subprocess.Popen[str], tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("still thinking\n")
    with pytest.raises(ServingError, match=re.compile("none.*still thinking", re.S)):
        background.wait_until_ready(alive, url, "none", 0.3, tmp_path / "log")


def test_a_server_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ends = [*PYTHON, "import sys; print('about to end', flush=True); sys.exit(3)"]
    with (
        background.started(ends, log) as process,
        pytest.raises(ServingError, match=re.compile("3.*about to end", re.S)),
    ):
        background.wait_until_ready(process, "http://127.0.0.1:9", "half", 30, log)


def test_it_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    child = background.dying_with_parent(["sh", "-c", f"echo $$ > {marker}; exec sleep 600"])
    command = [child[0], "-c", _PARENT, *child]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": ""}) as parent:
        _wait_for(lambda: marker.exists() and marker.read_text().strip())
        pid = int(marker.read_text())
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
    _wait_for(lambda: not _sleeps(pid))


# Starts what it is given, with itself as the parent in place of the test.
_PARENT = """
import os, subprocess, sys
command = sys.argv[1:]
command[command.index("sh") - 1] = str(os.getpid())
subprocess.run(command)
"""


def _sleeps(pid: int) -> bool:
    try:
        return b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _wait_for(condition: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("nonsense {")
    with (
        pytest.raises(ServingError, match="models.config"),
        background.running(tmp_path, config_file=tmp_path / "models.config"),
    ):
        pass
