"""Runs a model server in a process of its own, for the serving check, tests and benchmarks."""

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
from serving.local.options import RequestLimits, ServerOptions
from serving.printable import log_printable_lines, printable_lines

_STOP_SECONDS = 40  # longer than the server's own grace period
_LOG_LINES = 20
_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# Not preexec_fn, whose Python code between fork and exec can deadlock with threads. 1 is PR_SET_PDEATHSIG.
_DIE_WITH_PARENT = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(); os.execvp(sys.argv[2], sys.argv[2:])"
)


class ModelLoadError(ServingError):
    """The server runs, but cannot load the model."""


@dataclass(frozen=True)
class RunningServer:
    """A server in another process.

    Attributes:
        rest_url: For example `http://127.0.0.1:8501`.
        grpc_address: For example `127.0.0.1:8500`.
        process: The server's process.
    """

    rest_url: str
    grpc_address: str
    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        """The process ID."""
        return self.process.pid


@contextlib.contextmanager
def run_local_server(
    model_dir: Path,
    model_name: str = "catsdogs",
    *,
    rest_port: int = 0,
    grpc_port: int = 0,
    config_file: Path | None = None,
    log: Path | None = None,
    ready_seconds: float = 120,
    **limits: Any,
) -> Iterator[RunningServer]:
    """Runs the local server on 127.0.0.1 until the context, or this process, ends.

    Args:
        model_dir: Folder with the model's versions; it may be empty.
        model_name: The model's name in requests.
        rest_port: Port for HTTP; 0 selects a free one.
        grpc_port: Port for gRPC; 0 selects a free one.
        config_file: A models.config to serve instead of `model_dir`.
        log: File for the server's log; None deletes it when the context ends.
        ready_seconds: Time limit for opening the ports.
        limits: Fields of `RequestLimits`, instead of their defaults.

    Yields:
        The server, with open ports. Its model may have failed to load; `wait_until_ready` reports that.

    Raises:
        ServingError: The server does not start; the message has the end of its log.
    """
    arguments = {
        "model_dir": str(model_dir),
        "model_name": model_name,
        "config_file": str(config_file) if config_file else None,
        "rest_port": rest_port,
        "grpc_port": grpc_port,
        "limits": asdict(RequestLimits(**limits)),
    }
    command = [sys.executable, "-P", "-m", "serving.local.server_process", json.dumps(arguments)]
    with tempfile.TemporaryDirectory(prefix="catsdogs-server-") as folder:
        log = log or Path(folder) / "log"
        with run_in_background(command, log, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            readable, _, _ = select.select([process.stdout], [], [], ready_seconds)
            line = process.stdout.readline() if readable else ""
            if not line:
                raise ServingError(f"The local server does not start. The end of its log:\n{last_lines(log)}")
            ports = json.loads(line)
            yield RunningServer(f"http://127.0.0.1:{ports['rest']}", f"127.0.0.1:{ports['grpc']}", process)


@contextlib.contextmanager
def run_in_background(
    command: Sequence[str], log: Path, stdout: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Runs a command in the background until the context, or this thread, ends.

    Args:
        command: The program and its arguments.
        log: File for its stderr, and for its stdout if that is None.
        stdout: The `stdout` of `subprocess.Popen`.
    """
    with log.open("a") as output:
        process = subprocess.Popen(
            bind_to_parent(command),
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


def bind_to_parent(command: Sequence[str]) -> list[str]:
    """Returns a command that runs another one, and is sent SIGTERM when the thread that started it ends."""
    return [sys.executable, "-IS", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


def wait_until_ready(
    process: subprocess.Popen[str], rest_url: str, model_name: str, seconds: float, log: Path
) -> None:
    """Waits until a server serves a model.

    Args:
        process: The process of the local server or of TensorFlow Serving.
        rest_url: For example `http://127.0.0.1:8501`.
        model_name: The model's name.
        seconds: Time limit.
        log: The server's log; error messages include its last lines.

    Raises:
        ModelLoadError: The model cannot be loaded.
        ServingError: The process ended, or the time limit expired.
    """
    url = f"{rest_url}/v1/models/{model_name}"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ServingError(
                f"The server ended with status {process.returncode}. The end of its log:\n{last_lines(log)}"
            )
        if _get_json(f"{url}/metadata") is not None:
            return
        if errors := _load_errors(_get_json(url)):
            raise ModelLoadError(f"The server cannot load the model {model_name}: {errors}")
        time.sleep(0.1)
    raise ServingError(
        f"The server does not serve the model {model_name} after {seconds:g} s. "
        f"The end of its log:\n{last_lines(log)}"
    )


def last_lines(log: Path) -> str:
    """Returns the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


def _get_json(url: str) -> Any:
    """Returns a JSON response; None if the request fails."""
    try:
        with _WITHOUT_PROXY.open(url, timeout=5) as response:
            return json.load(response)
    except (OSError, ValueError):
        return None


def _load_errors(status: Any) -> str:
    """Returns the errors of a model's versions; empty unless all of them have failed to load."""
    versions = (status or {}).get("model_version_status", [])
    messages = [version["status"]["error_message"] for version in versions]
    return "; ".join(messages) if all(messages) else ""


def _main() -> None:
    """Serves with the JSON options in the first argument, and prints the ports as JSON once they are open."""
    import logging

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    # TensorFlow imports Keras if it is installed, and Keras imports scikit-learn and matplotlib: half of the
    # start-up time. The server needs none of them.
    sys.modules["keras"] = None  # type: ignore[assignment]
    from serving.local.models_config import config_source
    from serving.local.served_models import ServedModels
    from serving.local.server import serve

    log_printable_lines()
    arguments = json.loads(sys.argv[1])
    config_file = Path(arguments["config_file"]) if arguments["config_file"] else None
    serve(
        ServedModels(config_source(arguments["model_name"], Path(arguments["model_dir"]), config_file)),
        ServerOptions(
            rest_port=arguments["rest_port"],
            grpc_port=arguments["grpc_port"],
            limits=RequestLimits(**arguments["limits"]),
        ),
        on_ready=lambda ports: print(json.dumps({"rest": ports.rest, "grpc": ports.grpc}), flush=True),
        on_loading=lambda seconds: None,
    )
    logging.shutdown()
    os._exit(0)  # skip TensorFlow's shutdown, which takes seconds


if __name__ == "__main__":
    try:
        _main()
    except ServingError as error:
        sys.exit(printable_lines(error))
