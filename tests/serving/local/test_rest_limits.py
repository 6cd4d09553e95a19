"""Hostile requests: too large, too slow, or nested too deeply."""

from __future__ import annotations

import contextlib
import gzip
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.local import rest
from serving.local.options import RequestLimits
from tests.serving import saved_models
from tests.serving.local.rest_server import RestServer, rest_server

PATH = "/v1/models/m:predict"
HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\n"
MIB = 2**20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_models.half_plus_two(tmp_path_factory.mktemp("models") / "m").parent


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[RestServer]:
    limits = RequestLimits(max_body_bytes=2 * MIB, request_timeout_seconds=2.0)
    with rest_server({"m": model}, config=model.parent / "models.config", limits=limits) as running:
        yield running


@contextlib.contextmanager
def connected(server: RestServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        yield connection


def test_rejects_a_body_over_the_limit_without_reading_it(server: RestServer) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chunk = b"100000\r\n" + b"1" * MIB + b"\r\n"
    with connected(server) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(128):
                connection.sendall(chunk)
        response = connection.recv(65536)
    assert response.startswith(b"HTTP/1.1 413 ")
    assert str(2 * MIB) in json.loads(response.partition(b"\r\n\r\n")[2])["error"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
    assert server.request("POST", PATH, b" " * (2 * MIB + 1)).status == 413
    assert server.request("POST", PATH, b" " * 2 * MIB).status == 400
    assert server.request("POST", PATH, '{"instances": [[1.0]]}').status == 200


def test_a_slow_body_times_out(server: RestServer) -> None:
    with connected(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
        connection.settimeout(0.2)
        for _ in range(50):
            connection.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                response = connection.recv(65536)
                break
    assert response.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("before", [b"", b"GET /v1/models/m HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_slow_headers_time_out(model: Path, before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a new connection, and on one that has had a response."""
    monkeypatch.setattr(rest, "_IDLE_SECONDS", 1)
    response = b"open"
    with (
        rest_server({"m": model}, config=model.parent / "models.config") as server,
        connected(server) as connection,
    ):
        if before:
            connection.sendall(before)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.settimeout(0.1)
        for byte in HEAD + b"A: " + b"b" * 100:
            try:
                connection.sendall(bytes([byte]))
                response = connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                response = b""
            break
    assert response == b""


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 1_000_000,
        b'{"instances": ' + b"[" * 900 + b'1, "a"' + b"]" * 900 + b"}",
        b'{"instances": [' + b'{"x":' * 900 + b"1" + b"}" * 900 + b"]}",
        b'{"instances": [' + b"9" * 1_000_000 + b"]}",
        b'{"signature_name": "' + b"a" * 1_000_000 + b'", "instances": [1]}',
        b'{"instances": [{"x": [1]}, {"x": "' + b"\\ud800" * 100_000 + b'"}]}',
        b"\x00" * 1_000_000,
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_json_bombs_are_bad_requests(server: RestServer, body: bytes) -> None:
    response = server.request("POST", PATH, body)
    assert response.status == 400
    assert 0 < len(json.loads(response.body)["error"]) < 1000
    assert server.request("POST", PATH, '{"instances": [[1.0]]}').status == 200


def test_does_not_inflate_a_gzip_bomb(server: RestServer) -> None:
    bomb = gzip.compress(bytes(128 * MIB))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert server.request("POST", PATH, bomb, {"Content-Encoding": "gzip"}).status == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


@pytest.mark.parametrize(
    "body", [b"not gzip", gzip.compress(b'{"instances": [[1.0]]}')[:-12]], ids=["text", "cut short"]
)
def test_damaged_gzip_is_a_bad_request(
    server: RestServer, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    response = server.request("POST", PATH, body, {"Content-Encoding": "gzip"})
    assert response.status == 400
    assert json.loads(response.body)["error"]
    assert not caplog.records  # no traceback for a client's mistake


def test_parsing_counts_towards_the_timeout(model: Path) -> None:
    """One document takes long to parse, and another waits for it."""
    body = b'{"instances": [' + b"[0.123456789012345]," * 1_000_000 + b'"a"]}'
    limits = RequestLimits(request_timeout_seconds=0.2)
    with (
        rest_server({"m": model}, config=model.parent / "models.config", limits=limits) as server,
        ThreadPoolExecutor(2) as senders,
    ):
        responses = list(senders.map(lambda _: server.request("POST", PATH, body), range(2)))
    assert {response.status for response in responses} <= {
        408,
        504,
    }  # 408 if the other request delays the sending


@pytest.mark.slow
def test_large_documents_do_not_delay_other_requests(model: Path) -> None:
    """40 MB of numbers are parsed off the event loop."""
    body = b'{"instances": [' + b"[0.123456789012345]," * 1_999_990 + b'"a"]}'
    waits: list[float] = []
    with rest_server({"m": model}, config=model.parent / "models.config") as server:
        statuses: list[int] = []
        sender = threading.Thread(target=lambda: statuses.append(server.request("POST", PATH, body).status))
        sent = time.monotonic()
        sender.start()
        while sender.is_alive():
            started = time.monotonic()
            assert server.request("GET", "/v1/models/m").status == 200
            waits.append(time.monotonic() - started)
            time.sleep(0.05)
        taken = time.monotonic() - sent
    assert statuses == [400]
    print(f"waited {max(waits):.2f} s of {taken:.2f} s")
    assert max(waits) < 0.75 * taken  # if delayed, it is 97 % on any machine
    assert max(waits) < 5
