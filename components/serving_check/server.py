"""Starts a server for a model and sends it images.

The server is TensorFlow Serving if it is installed, otherwise the project's local server.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.serving_check.report import ProtocolResult, ServedPrediction
from serving.client import Client, RequestRejected
from serving.errors import ServingError
from serving.local import server_process

BINARY = "tensorflow_model_server"
_LOADING_SECONDS = 300.0
_UNTIMED_REQUESTS = 2  # they open the connections
_TIMEOUT = 60.0  # seconds
_NOT_LOADED = re.compile(r"^Failed to start server. Error: (.*did not become available.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        name: Name and version, such as `TensorFlow Serving 2.19.0`.
        rest_url: URL of the REST endpoint.
        grpc_url: URL of the gRPC endpoint.
    """

    name: str
    rest_url: str
    grpc_url: str


@contextmanager
def running_server(model_dir: Path, model_name: str, log: Path) -> Iterator[Server]:
    """Starts a server on free ports, waits until it has loaded the model, and stops it on exit.

    The server also stops if this process is killed.

    Args:
        model_dir: Folder of the model, with one subfolder per version.
        model_name: Name under which the server serves the model.
        log: File for the output of the server.

    Raises:
        ModelLoadError: The server cannot load the model.
        ServingError: The server does not start.
    """
    binary = shutil.which(BINARY)
    if binary is None:
        running = server_process.run_local_server(
            model_dir,
            model_name,
            log=log,
            ready_seconds=_LOADING_SECONDS,
            max_pixels=sys.maxsize,  # the model has its own limit
        )
        with running as address:
            server_process.wait_until_ready(
                address.process, address.rest_url, model_name, _LOADING_SECONDS, log
            )
            yield Server("the local server", address.rest_url, f"grpc://{address.grpc_address}")
        return
    grpc_port, rest_port = _free_ports(2)
    command = [
        binary,
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_name={model_name}",
        f"--model_base_path={model_dir}",
        "--max_num_load_retries=0",  # retries are a minute apart and only delay the result
    ]
    rest_url = f"http://127.0.0.1:{rest_port}"
    with server_process.run_in_background(command, log) as process:
        try:
            server_process.wait_until_ready(process, rest_url, model_name, _LOADING_SECONDS, log)
        except ServingError:
            if match := _NOT_LOADED.search(log.read_text(encoding="utf-8", errors="replace")):
                raise server_process.ModelLoadError(
                    f"{_version(binary)} cannot load the model: {match[1]}"
                ) from None
            raise
        yield Server(_version(binary), rest_url, f"grpc://127.0.0.1:{grpc_port}")


def _free_ports(count: int) -> list[int]:
    """Returns free ports; TensorFlow Serving cannot choose them itself."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in sockets]


def _version(binary: str) -> str:
    """Returns `TensorFlow Serving 2.19.0`, or no version if the binary does not print it."""
    process = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    version = process.stdout.partition("TensorFlow ModelServer: ")[2].split()
    return f"TensorFlow Serving {version[0]}" if version else "TensorFlow Serving"


def send_requests(protocol: str, url: str, model_name: str, images: Sequence[bytes]) -> ProtocolResult:
    """Sends images one after the other, one per request, and measures the latency.

    Args:
        protocol: `REST` or `gRPC`, for the report.
        url: URL of the endpoint.
        model_name: Name of the model on the server.
        images: JPEG or PNG bytes.
    """
    with Client(url, model_name, timeout=_TIMEOUT, retries=0) as client:
        for image in images[:_UNTIMED_REQUESTS]:
            _predict(client, image)
        predictions, milliseconds = [], []
        for image in images:
            started = time.perf_counter()
            predictions.append(_predict(client, image))
            milliseconds.append((time.perf_counter() - started) * 1000)
        return ProtocolResult(protocol, predictions, milliseconds, _signatures(client))


def _predict(client: Client, image: bytes) -> ServedPrediction | str:
    try:
        [prediction] = client.predict([image])
    except RequestRejected as error:
        return error.text
    except ServingError as error:
        return str(error)
    return ServedPrediction(prediction.probability, prediction.label)


def _signatures(client: Client) -> frozenset[str]:
    try:
        signatures = client.metadata()["metadata"]["signature_def"]["signature_def"]
    except ServingError:
        return frozenset()
    return frozenset(name for name in signatures if not name.startswith("__"))  # internal to TensorFlow
