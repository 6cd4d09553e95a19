"""What a caller can do to the server: send too much, too slowly, too deep, or from too many places."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import resource
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf

from serving.local.limits import Limits
from serving.local.request_body import inflated
from tests.serving import models
from tests.serving.local.rest_server import RestServer, rest_server

PATH = "/v1/models/m:predict"
HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n"
MIB = 2**20
LIMITS = Limits(
    max_body_bytes=2 * MIB,
    max_values=1_100_000,
    max_pending_bytes=3 * MIB,
    max_requests=1500,
    body_timeout_seconds=1.0,
    idle_timeout_seconds=1.0,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.half_plus_two(tmp_path_factory.mktemp("models") / "m").parent


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[RestServer]:
    with rest_server({"m": model}, config=model.parent / "models.config", limits=LIMITS) as running:
        yield running


@contextlib.contextmanager
def connected(server: RestServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        yield connection


def error(answer: bytes) -> str:
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["error"])


def test_announced_gigabyte_is_refused_unread(server: RestServer) -> None:
    with connected(server) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert error(answer) == (
        "The body has 1073741824 bytes; this server takes at most 2097152 (--max-body-bytes)."
    )


def test_unannounced_gigabyte_stays_out_of_memory(server: RestServer) -> None:
    """A quarter of it is enough to see; what comes after the refusal is thrown away."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chunk = b"100000\r\n" + b"1" * MIB + b"\r\n"
    with connected(server) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(256):
                connection.sendall(chunk)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
    assert server.ask("POST", PATH, '{"instances": [[1.0]]}').status == 200


def test_body_that_does_not_come_is_not_waited_for(server: RestServer) -> None:
    started = time.monotonic()
    with connected(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert error(answer) == "The body did not arrive within 1 seconds."
    assert 0.9 < time.monotonic() - started < 10


def test_body_that_drips_is_not_waited_for(server: RestServer) -> None:
    with connected(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
        connection.settimeout(0.2)
        for _ in range(50):
            connection.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65536)
                break
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("before", [b"", b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_head_that_drips_is_cut_off(server: RestServer, before: bytes) -> None:
    """Slow loris, on a new connection and on one that has been answered."""
    started = time.monotonic()
    with connected(server) as connection:
        if before:
            connection.sendall(before)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.settimeout(0.2)
        answer = b"open"
        for byte in HEAD + b"A: " + b"b" * 200:
            try:
                connection.sendall(bytes([byte]))
                answer = connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                answer = b""
            break
    assert answer == b""
    assert time.monotonic() - started < 10


def test_answer_that_nobody_takes_is_cut_off(tmp_path: Path) -> None:
    models.identity(tmp_path / "m", {"x": tf.TensorSpec([None], tf.string)})
    body = b'{"instances": ["' + b"g" * (32 * MIB) + b'"]}'
    limits = Limits(request_timeout_seconds=2.0, max_pending_bytes=40 * MIB)
    with (
        rest_server({"m": tmp_path / "m"}, config=tmp_path / "models.config", limits=limits) as server,
        connected(server) as connection,
    ):
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        other = server.ask("POST", PATH, b" " * 16 * MIB)
        assert other.status == 503  # the answer counts until it is taken
        assert re.search(r"The server holds 335\d{5} bytes of requests already", other.body.decode())
        time.sleep(3)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(MIB):
                received += len(piece)
        assert server.ask("POST", PATH, b" " * 16 * MIB).status == 400  # and no longer
    assert received < 32 * MIB


def test_bytes_of_all_requests_are_bounded(server: RestServer) -> None:
    body = b"{" + b" " * (2 * MIB - 1)
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    with connected(server) as first, connected(server) as second:
        first.sendall(head)
        time.sleep(0.2)
        second.sendall(head)
        answer = second.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert error(answer) == "The server holds 2097152 bytes of requests already. Try again later."
        first.sendall(body)
        assert first.recv(65536).startswith(b"HTTP/1.1 400 ")
    for _ in range(3):  # everything has been given back
        assert server.ask("POST", PATH, body).status == 400


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"instances": ' + b"[" * 900 + b'1, "a"' + b"]" * 900 + b"}",
        b'{"inputs": ' + b"[" * 300 + b"1" + b"]" * 300 + b"}",
        b'{"instances": [' + b'{"x":' * 900 + b"1" + b"}" * 900 + b"]}",
        b'{"instances": [' + b"9" * 1_000_000 + b"]}",
        b'{"instances": [1e' + b"9" * 1_000_000 + b"]}",
        b'{"signature_name": "' + b"a" * 1_000_000 + b'", "instances": [1]}',
        b'{"instances": [{"x": [1]}, {"x": "' + b"\\ud800" * 100_000 + b'"}]}',
        b'{"instances": ["' + b"\\udc00\xff" * 100_000 + b'"]}',
        b"\x00" * 1_000_000,
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_bombs_are_bad_requests(server: RestServer, body: bytes) -> None:
    started = time.monotonic()
    answer = server.ask("POST", PATH, body)
    assert answer.status == 400
    assert json.loads(answer.body.decode("utf-8", "replace"))["error"]
    assert time.monotonic() - started < 20
    assert server.ask("POST", PATH, '{"instances": [[1.0]]}').status == 200


@pytest.mark.parametrize("body", [b"[" * 1_600_000, b'{"instances": [' + b"[]," * 600_000 + b"[]]}"])
@pytest.mark.parametrize("method", ["predict", "regress"])
def test_too_many_values_are_refused_unread(server: RestServer, method: str, body: bytes) -> None:
    answer = server.ask("POST", f"/v1/models/m:{method}", body)
    assert answer.status == 400
    values = sum(body.count(mark) for mark in (b",", b"[", b"{", b":"))
    assert json.loads(answer.body)["error"] == (
        f"The body has about {values} JSON values; this server takes at most 1100000. "
        "Send fewer rows at a time."
    )


def test_reading_has_the_deadline_too(model: Path) -> None:
    """A document that takes seconds to read, and one that waits behind it."""
    body = b'{"instances": [' + b"[0.123456789012345]," * 1_000_000 + b'"a"]}'
    limits = Limits(request_timeout_seconds=0.2)
    with (
        rest_server({"m": model}, config=model.parent / "models.config", limits=limits) as server,
        ThreadPoolExecutor(2) as senders,
    ):
        answers = list(senders.map(lambda _: server.ask("POST", PATH, body), range(2)))
    assert [answer.status for answer in answers] == [504, 504]
    assert json.loads(answers[0].body)["error"] == "The request was not answered within 0.2 s."


def test_gzip_bomb_is_not_blown_up(server: RestServer) -> None:
    """Zeros that say how many they are, and zeros that deny it: to TensorFlow Serving, no body at all."""
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(press.compress(b"\0" * MIB) for _ in range(128)) + press.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for body in (bomb, bomb[:-4] + (MIB).to_bytes(4, "little")):
        answer = server.ask("POST", PATH, body, {"Content-Encoding": "gzip"})
        assert answer.status == 400
        assert json.loads(answer.body)["error"] == "JSON Parse error: The document is empty"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def test_inflated_bytes_count_too(server: RestServer) -> None:
    body = gzip.compress(b"{" + b" " * (4 * MIB))
    answer = server.ask("POST", PATH, body, {"Content-Encoding": "gzip"})
    assert answer.status == 503
    assert server.ask("POST", PATH, '{"instances": [[1.0]]}').status == 200


def test_inflated() -> None:
    packed = gzip.compress(b"some text")
    assert inflated(packed) == b"some text"
    for broken in (
        packed[:-1],
        packed[:-8],
        packed + b"x",
        packed * 2,
        b"x" + packed,
        b"",
        b"abcd",
        b"not gzip",
    ):
        assert inflated(broken) == b""
    assert inflated(packed[:-8] + b"\0\0\0\0" + packed[-4:]) == b""  # checksum


def test_a_thousand_connections_are_all_answered(model: Path) -> None:
    """All open before the first one asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2500:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2500), hard))
    body = b'{"instances": [[1.0]]}'
    request = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def ask(port: int, ready: asyncio.Barrier) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await ready.wait()
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    async def ask_all(port: int) -> list[bytes]:
        ready = asyncio.Barrier(1000)
        async with asyncio.timeout(120):
            return await asyncio.gather(*(ask(port, ready) for _ in range(1000)))

    with rest_server({"m": model}, config=model.parent / "models.config") as server:
        answers = asyncio.run(ask_all(server.port))
    assert {answer.splitlines()[0] for answer in answers} == {b"HTTP/1.1 200 OK"}


@pytest.mark.slow
def test_large_documents_do_not_hold_up_others(model: Path) -> None:
    """40 MB of numbers, as many as are taken, are read beside the event loop."""
    body = b'{"instances": [' + b"[0.123456789012345]," * 1_999_990 + b'"a"]}'
    waits: list[float] = []
    with rest_server({"m": model}, config=model.parent / "models.config") as server:
        statuses: list[int] = []
        sender = threading.Thread(target=lambda: statuses.append(server.ask("POST", PATH, body).status))
        sent = time.monotonic()
        sender.start()
        while sender.is_alive():
            started = time.monotonic()
            assert server.ask("GET", "/v1/models/m").status == 200
            waits.append(time.monotonic() - started)
            time.sleep(0.05)
        taken = time.monotonic() - sent
    assert statuses == [400]
    assert max(waits) < 0.75 * taken  # held up, one waits for 97 % of it, however quick the machine is
    assert max(waits) < 5
