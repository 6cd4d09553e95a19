"""Starts a server on a model, and sends it pictures.

It is TensorFlow Serving where that is installed, else the project's own.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.serving_check.report import Answer, Exchange
from serving.client import Client, RequestRejected
from serving.errors import ServingError
from serving.local import server_process

BINARY = "tensorflow_model_server"
_LOADING_SECONDS = 300.0
_UNCOUNTED = 2  # requests before the clock starts: the first ones open connections
_TIMEOUT = 60.0  # seconds
_NOT_LOADED = re.compile(r"^Failed to start server. Error: (.*did not become available.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """A server at work.

    Attributes:
        name: Which one it is, in words.
        rest_url: Where it speaks REST.
        grpc_url: Where it speaks gRPC.
    """

    name: str
    rest_url: str
    grpc_url: str


@contextmanager
def serving(model_dir: Path, model_name: str, log: Path) -> Iterator[Server]:
    """Starts a server on free ports, waits until it has loaded the model, and stops it at the end.

    It also ends when this process is killed.

    Args:
        model_dir: The model's folder, one sub-folder a version.
        model_name: What the server calls the model.
        log: Gets what the server writes.

    Raises:
        ModelLoadError: The server cannot load the model.
        ServingError: The server does not start.
    """
    binary = shutil.which(BINARY)
    if binary is None:
        running = server_process.run_local_server(
            model_dir, model_name, log=log, ready_seconds=_LOADING_SECONDS
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
        "--max_num_load_retries=0",  # a minute apart, they would only put off the answer
    ]
    rest_url = f"http://127.0.0.1:{rest_port}"
    with server_process.run_in_background(command, log) as process:
        try:
            server_process.wait_until_ready(process, rest_url, model_name, _LOADING_SECONDS, log)
        except ServingError:
            if found := _NOT_LOADED.search(log.read_text(encoding="utf-8", errors="replace")):
                raise server_process.ModelLoadError(
                    f"{_version(binary)} cannot load the model: {found[1]}"
                ) from None
            raise
        yield Server(_version(binary), rest_url, f"grpc://127.0.0.1:{grpc_port}")


def _free_ports(count: int) -> list[int]:
    """Returns ports that nobody listens on; TensorFlow Serving cannot choose them itself."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _version(binary: str) -> str:
    """Returns `TensorFlow Serving 2.19.0`, or without its version where it does not tell."""
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    found = told.stdout.partition("TensorFlow ModelServer: ")[2].split()
    return f"TensorFlow Serving {found[0]}" if found else "TensorFlow Serving"


def ask(protocol: str, url: str, model_name: str, pictures: Sequence[bytes]) -> Exchange:
    """Sends a server pictures, one after the other, each in a request of its own, and takes the time.

    Args:
        protocol: What to call it: `REST` or `gRPC`.
        url: Where the server is.
        model_name: What it calls the model.
        pictures: Stored JPEGs or PNGs.
    """
    with Client(url, model_name, timeout=_TIMEOUT, retries=0) as client:
        for picture in pictures[:_UNCOUNTED]:
            _answer(client, picture)
        answers, milliseconds = [], []
        for picture in pictures:
            started = time.perf_counter()
            answers.append(_answer(client, picture))
            milliseconds.append((time.perf_counter() - started) * 1000)
        return Exchange(protocol, answers, milliseconds, _signatures(client))


def _answer(client: Client, picture: bytes) -> Answer | str:
    try:
        [said] = client.predict([picture])
    except RequestRejected as refused:
        return refused.text
    except ServingError as error:
        return str(error)
    return Answer(said.probability, said.label)


def _signatures(client: Client) -> frozenset[str]:
    try:
        named = client.metadata()["metadata"]["signature_def"]["signature_def"]
    except ServingError:
        return frozenset()
    return frozenset(name for name in named if not name.startswith("__"))  # those are TensorFlow's own
