"""A server in a process of its own, ours or another: for tests, benchmarks, and the check before a push."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serving.errors import ServingError
from serving.local.limits import RequestLimits

_STOP_SECONDS = 40  # a little more than the server gives requests that are under way
_LAST_LINES = 20
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is on this machine

# Without Python code between fork and exec, which can hang where there are threads. 1 is PR_SET_PDEATHSIG.
_DIE_WITH_PARENT = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(); os.execvp(sys.argv[2], sys.argv[2:])"
)


class LoadFailed(ServingError):
    """The server runs, and the model is one that it cannot serve."""


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Attributes:
        rest_url: For example `http://127.0.0.1:8501`.
        grpc_address: For example `127.0.0.1:8500`.
        process: What serves.
    """

    rest_url: str
    grpc_address: str
    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid


@contextlib.contextmanager
def running(
    model_dir: Path,
    model_name: str = "catsdogs",
    *,
    rest_port: int = 0,
    grpc_port: int = 0,
    config_file: Path | None = None,
    log: Path | None = None,
    ready_seconds: float = 120,
    **limits: Any,
) -> Iterator[Address]:
    """Runs the local server on 127.0.0.1; it ends with the context, and with this process.

    Args:
        model_dir: Folder with the model's versions; it may be empty.
        model_name: What requests call the model.
        rest_port: 0 means a free one.
        grpc_port: 0 means a free one.
        config_file: A models.config to serve in place of `model_dir`.
        log: File for what the server says; None throws it away when the context ends.
        ready_seconds: How long it may take until the ports are open.
        limits: Fields of `Limits` that are not to have their defaults.

    Yields:
        Where it is. Its ports are open; a model that cannot be loaded is for `wait_until_ready` to find.

    Raises:
        ServingError: The server does not start, with what it said last.
    """
    asked = {
        "model_dir": str(model_dir),
        "model_name": model_name,
        "config_file": str(config_file) if config_file else None,
        "rest_port": rest_port,
        "grpc_port": grpc_port,
        "limits": asdict(RequestLimits(**limits)),
    }
    command = [sys.executable, "-P", "-m", "serving.local.background", json.dumps(asked)]
    with tempfile.TemporaryDirectory(prefix="catsdogs-server-") as folder:
        log = log or Path(folder) / "log"
        with started(command, log, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            readable, _, _ = select.select([process.stdout], [], [], ready_seconds)
            line = process.stdout.readline() if readable else ""
            if not line:
                raise ServingError(f"The local server does not start; it said last:\n{last_lines(log)}")
            ports = json.loads(line)
            yield Address(f"http://127.0.0.1:{ports['rest']}", f"127.0.0.1:{ports['grpc']}", process)


@contextlib.contextmanager
def started(command: Sequence[str], log: Path, stdout: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Runs a command in the background; it is asked to end with the context, and ends with this thread.

    Args:
        command: The program and its arguments.
        log: File for its errors, and for its output too unless `stdout` says otherwise.
        stdout: As `subprocess.Popen` has it.
    """
    with log.open("a") as output:
        process = subprocess.Popen(
            dying_with_parent(command),
            stdin=subprocess.DEVNULL,
            stdout=output if stdout is None else stdout,
            stderr=output,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """Returns a command that runs another one and gets SIGTERM when the thread that started it ends."""
    return [sys.executable, "-IS", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


def wait_until_ready(
    process: subprocess.Popen[str], rest_url: str, model_name: str, seconds: float, log: Path
) -> None:
    """Waits until a server answers for a model.

    Args:
        process: The server's process, ours or TensorFlow Serving's.
        rest_url: For example `http://127.0.0.1:8501`.
        model_name: The model.
        seconds: How long to wait.
        log: What the server has said so far, for the error.

    Raises:
        LoadFailed: The model cannot be loaded.
        ServingError: The process ended, or the time is up.
    """
    url = f"{rest_url}/v1/models/{model_name}"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ServingError(
                f"The server ended with status {process.returncode}; it said last:\n{last_lines(log)}"
            )
        if _get(f"{url}/metadata") is not None:
            return
        if failures := _failures(_get(url)):
            raise LoadFailed(f"The server cannot load the model {model_name}: {failures}")
        time.sleep(0.1)
    raise ServingError(
        f"The server does not answer for the model {model_name} after {seconds:g} s; "
        f"it said last:\n{last_lines(log)}"
    )


def last_lines(log: Path) -> str:
    """Returns the end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])


def _get(url: str) -> Any:
    """Returns a JSON answer; None where there is no good one."""
    try:
        with _DIRECTLY.open(url, timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def _failures(status: Any) -> str:
    """Returns why nothing of a model can be loaded, from its status; empty where something still may be."""
    versions = (status or {}).get("model_version_status", [])
    messages = [version["status"]["error_message"] for version in versions]
    return "; ".join(messages) if all(messages) else ""


def _main() -> None:
    """Serves what the first argument says, and prints the ports as JSON once they are open."""
    import logging

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    # TensorFlow imports Keras where it can, and Keras scikit-learn and matplotlib, which takes half of the
    # start. A server runs graphs, and needs none of them.
    sys.modules["keras"] = None  # type: ignore[assignment]
    from serving.local import models, server

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asked = json.loads(sys.argv[1])
    config_file = Path(asked["config_file"]) if asked["config_file"] else None
    server.serve(
        models.Models(models.configs(asked["model_name"], Path(asked["model_dir"]), config_file)),
        server.Options(
            rest_port=asked["rest_port"],
            grpc_port=asked["grpc_port"],
            limits=RequestLimits(**asked["limits"]),
        ),
        ready=lambda ports: print(json.dumps({"rest": ports.rest, "grpc": ports.grpc}), flush=True),
        waiting=lambda seconds: None,
    )
    logging.shutdown()
    os._exit(0)  # TensorFlow needs seconds to be taken apart


if __name__ == "__main__":
    try:
        _main()
    except ServingError as error:
        sys.exit(str(error))
