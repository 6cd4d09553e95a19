from __future__ import annotations

import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from types import SimpleNamespace
from typing import NoReturn

import apache_beam as beam
import google.api_core.exceptions as google
import grpc
import pytest
import requests
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from components.errors import DataRejected, InputError, PipelineError
from pipelines.kubeflow.container import transient
from pipelines.kubeflow.container.transient import is_transient, run_with_retries


def http_error(status: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://store", status, "", Message(), None)


def beam_error(line: str) -> RuntimeError:
    """Returns an error with the traceback of a worker."""
    return RuntimeError(f"Traceback (most recent call last):\n  File \"a.py\"\n{line} [while running 'x']")


def get(endpoint: str) -> None:
    requests.get(endpoint, timeout=5)


def open_address(endpoint: str) -> None:
    urllib.request.urlopen(endpoint, timeout=5)


def test_a_name_that_cannot_be_resolved() -> None:
    with pytest.raises(urllib.error.URLError) as raised:
        open_address("http://name.invalid")
    assert is_transient(raised.value)


@pytest.mark.parametrize("client", [get, open_address])
def test_a_connection_that_a_server_closes(client: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        with pytest.raises(Exception) as raised:
            client(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert is_transient(raised.value)


def test_a_server_of_rpcs_that_cannot_be_reached() -> None:
    """Nothing listens at port 1."""
    with grpc.insecure_channel("localhost:1") as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/service/method")(b"")
    assert is_transient(raised.value)


@pytest.mark.parametrize(("error", "passes"), [(ConnectionResetError(), True), (ValueError(), False)])
def test_errors_of_a_beam_worker(error: Exception, passes: bool) -> None:
    def act(_: int) -> NoReturn:
        raise error

    options = PipelineOptions(["--runner=FnApiRunner", "--direct_running_mode=multi_threading"])
    with pytest.raises(RuntimeError) as raised, beam.Pipeline(options=options) as pipeline:
        pipeline | beam.Create([1]) | beam.Map(act)
    assert is_transient(raised.value) == passes


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError(),
        http.client.IncompleteRead(b""),
        google.TooManyRequests("slow down"),
        google.ServiceUnavailable("later"),
        tf.errors.UnavailableError(None, None, "the service is unavailable"),
        http_error(429),
        http_error(503),
        beam_error("google.api_core.exceptions.ServiceUnavailable: 503 later"),
        beam_error("ConnectionResetError: [Errno 104] Connection reset by peer"),
    ],
)
def test_errors_that_pass(error: Exception) -> None:
    assert is_transient(error)
    outer = OSError("cannot be read")
    outer.__cause__ = error
    assert is_transient(outer)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("503"),
        PipelineError("There is no space left."),
        FileNotFoundError("/data"),
        MemoryError(),
        google.NotFound("no such bucket"),
        google.Forbidden("no access"),
        tf.errors.InvalidArgumentError(None, None, "TimeoutError"),
        http_error(404),
        beam_error("ValueError: TimeoutError"),
        beam_error("components.errors.DataRejected: No images."),
    ],
)
def test_errors_that_stay(error: Exception) -> None:
    assert not is_transient(error)


@pytest.mark.parametrize(
    ("error", "passes"),
    [(PipelineError("gs://b cannot be used."), True), (DataRejected(""), False), (InputError(""), False)],
)
def test_a_sentence_for_the_user_that_the_network_has_caused(error: PipelineError, passes: bool) -> None:
    """The input and the data stay what they are."""
    error.__cause__ = google.ServiceUnavailable("later")
    assert is_transient(error) == passes


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made."""
    made: list[float] = []
    monkeypatch.setattr(transient, "time", SimpleNamespace(sleep=made.append))
    return made


def test_a_failure_that_passes(pauses: list[float]) -> None:
    results: list[Exception | None] = [ConnectionResetError(), TimeoutError(), None]

    def act() -> None:
        error = results.pop(0)
        if error:
            raise error

    run_with_retries(act)
    assert results == []
    assert len(pauses) == 2
    assert pauses[0] < pauses[1]


@pytest.mark.parametrize(("error", "attempts"), [(ValueError(), 1), (ConnectionResetError(), 4)])
def test_a_failure_that_stays(pauses: list[float], error: Exception, attempts: int) -> None:
    def act() -> NoReturn:
        raise error

    with pytest.raises(type(error)):
        run_with_retries(act)
    assert len(pauses) == attempts - 1
