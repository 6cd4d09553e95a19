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
from serving.local import server_process
from tests.serving import saved_models
from tests.serving.local.rest_server import rest_server

PYTHON = [sys.executable, "-S", "-c"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a valid model, an invalid one, and one without versions."""
    folder = tmp_path_factory.mktemp("served")
    saved_models.half_plus_two(folder / "half")
    (folder / "bad" / "1").mkdir(parents=True)
    (folder / "bad" / "1" / "saved_model.pb").write_bytes(b"no model")
    (folder / "none").mkdir()
    names = ("half", "bad", "none")
    with rest_server({name: folder / name for name in names}, folder / "models.config") as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with server_process.run_in_background(["sleep", "600"], tmp_path / "log") as process:
        yield process


def test_waits_for_a_model_that_loads(
    url: str, alive: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # no proxy listens there
    server_process.wait_until_ready(alive, url, "half", 30, tmp_path / "log")


def test_reports_why_a_model_cannot_be_loaded(url: str, alive: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(server_process.ModelLoadError, match="bad.*saved_model.pb"):
        server_process.wait_until_ready(alive, url, "bad", 30, tmp_path / "log")


def test_waiting_times_out(url: str, alive: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "log").write_text("still thinking\n")
    with pytest.raises(ServingError, match=re.compile("none.*still thinking", re.S)):
        server_process.wait_until_ready(alive, url, "none", 0.3, tmp_path / "log")


def test_reports_the_log_of_a_server_that_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ends = [*PYTHON, "import sys; print('about to end', flush=True); sys.exit(3)"]
    with (
        server_process.run_in_background(ends, log) as process,
        pytest.raises(ServingError, match=re.compile("3.*about to end", re.S)),
    ):
        server_process.wait_until_ready(process, "http://127.0.0.1:9", "half", 30, log)


def test_ends_with_its_parent_even_if_that_is_killed(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    child = server_process.bind_to_parent(["sh", "-c", f"echo $$ > {marker}; exec sleep 600"])
    command = [child[0], "-c", _PARENT, *child]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": ""}) as parent:
        _wait_for(lambda: marker.exists() and marker.read_text().strip())
        pid = int(marker.read_text())
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
    _wait_for(lambda: not _sleeps(pid))


# Starts a command as the child of another process than the test.
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
def test_reports_why_a_server_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("nonsense {")
    with (
        pytest.raises(ServingError, match="models.config"),
        server_process.run_local_server(tmp_path, config_file=tmp_path / "models.config"),
    ):
        pass
