"""A server that sends any bytes, to test what broken and hostile servers send."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from serving.client.protocol import MAX_RESPONSE_BYTES

Chunks = Callable[[socket.socket], Iterable[bytes]]

GOOD_ROW = {"dog_probability": 0.75, "label": "dog"}
GOOD_METADATA = {"model_spec": {"name": "catsdogs", "version": "17"}, "metadata": {}}


def http(
    body: object = None,
    status: str = "200 OK",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Returns a response with a JSON body, or with the bytes that are given."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Length": str(len(content)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + content


def endless(first: bytes, block: bytes, pause: float = 0) -> Chunks:
    """Returns a function that yields the first bytes and then the block for ever."""

    def chunks(_: socket.socket) -> Iterator[bytes]:
        yield first
        while True:
            time.sleep(pause)
            yield block

    return chunks


def grpc(
    message: bytes, status: str = "0", detail: str = "", encoding: str = "", broken: bool = False
) -> Chunks:
    """Returns a function that yields a gRPC response.

    Args:
        message: The serialized message.
        status: The status code.
        detail: The error message.
        encoding: The message's compression.
        broken: Ends the response without a status.
    """

    def chunks(connection: socket.socket) -> Iterator[bytes]:
        yield _frame(4, 0, 0, b"")  # SETTINGS; the client then sends its request
        received = b""
        while not (received := received + connection.recv(2**16)).count(b"/tensorflow.serving."):
            pass
        header = b"\x88" + _field("content-type", "application/grpc")  # status 200
        header += _field("grpc-encoding", encoding) if encoding else b""
        yield _frame(1, 4, 1, header)
        data = (b"\1" if encoding else b"\0") + len(message).to_bytes(4, "big") + message
        for start in range(0, len(data), 2**14):
            yield _frame(0, 0, 1, data[start : start + 2**14])
        if not broken:
            yield _frame(1, 5, 1, _field("grpc-status", status) + _field("grpc-message", detail))
            while connection.recv(2**16):  # otherwise closing the connection could discard the response
                pass

    return chunks


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Returns an HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _field(name: str, value: str) -> bytes:
    """Returns a header field as an HPACK literal."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


@contextlib.contextmanager
def running(reply: Callable[[str], bytes | Chunks]) -> Iterator[str]:
    """Runs a server and yields its address, HOST:PORT.

    Args:
        reply: Returns what to send for a request line; the server then closes the connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads: list[threading.Thread] = []

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                request = _read_request(connection)
                content = reply(request.partition(b"\r\n")[0].decode(errors="replace"))
                for chunk in [content] if isinstance(content, bytes) else content(connection):
                    connection.sendall(chunk)

        def accept() -> None:
            with contextlib.suppress(OSError):  # the socket was shut down
                while True:
                    connection, _ = listening.accept()
                    connection.settimeout(10)
                    threads.append(threading.Thread(target=serve, args=[connection], daemon=True))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for thread in [accepting, *threads]:
                thread.join(10)


def _read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request and (received := connection.recv(2**16)):
        request += received
    head, _, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    missing = int(length[1]) - len(body) if length else 0
    while missing > 0 and (received := connection.recv(2**16)):
        missing -= len(received)
    return request


def _chunked(*chunks: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


def _encoded(coding: str, content: bytes) -> bytes:
    return http(content, headers={"Content-Encoding": coding})


@cache
def _gzip_bomb() -> bytes:
    return gzip.compress(b"{%b}" % bytes(2**27).replace(b"\0", b" "), 1)


def _gzip_bomb_in_chunks() -> bytes:
    bomb = _gzip_bomb()
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(bomb), bomb)


def _lists(size: int) -> bytes:
    """Returns JSON of `size` bytes that takes 20 times as much memory."""
    return b'{"predictions": [%b[]]}'.replace(b"%b", b"[]," * (size // 3 - 7))


# Neither metadata nor predictions nor a status: each is an error, whatever was requested.
BROKEN: dict[str, bytes | Chunks] = {
    "no response": b"",
    "HTTP/0.9": b'{"predictions": []}',
    "HTTP/2": b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x16",
    "status line without a number": b"HTTP/1.1 OK\r\n\r\n",
    "status 99": http({}, "99 Low"),
    "status 999": http({}, "999 High"),
    "status 204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "status 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n\0\0",
    "status 304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "status 500 without a body": http(b"", "500 Oops"),
    "status 404 with HTML": http(b"<html>", "404 Not Found"),
    "reason with escape sequence": http(b"", "418 \x1b[2J[/x]"),
    "reason in Latin-1": b"HTTP/1.1 418 th\xe9\r\nContent-Length: 0\r\n\r\n",
    "no reason": http(b"", "418 "),
    "only interim responses": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000,
    "endless interim responses": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "redirect to a file": http(b"", "302 Found", {"Location": "file:///etc/passwd"}),
    "redirect to itself": http(b"", "307 Temporary Redirect", {"Location": "/"}),
    "redirect to nowhere": http(b"", "301 Moved", {"Location": "http://[::1"}),
    "long header": http({}, headers={"X": "x" * 2**20}),
    "endless header": endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 2**16),
    "endless headers": endless(b"HTTP/1.1 200 OK\r\n", b"X: x\r\n" * 1000),
    "header without a colon": b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n{}",
    "NUL in a header": http({}, headers={"X": "\0"}),
    "negative length": http({}, headers={"Content-Length": "-1"}),
    "length in words": http({}, headers={"Content-Length": "two"}),
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    "huge length": http({}, headers={"Content-Length": "9" * 18}),
    "longer than the body": http({}, headers={"Content-Length": "100"}),
    "chunk cut off": _chunked(b"ff\r\n{}"),
    "no last chunk": _chunked(b"2\r\n{}\r\n"),
    "chunk size in words": _chunked(b"two\r\n{}\r\n"),
    "huge chunk size": _chunked(b"f" * 20 + b"\r\n{}\r\n"),
    "endless chunk extension": endless(_chunked(b"2;"), b"x" * 2**16),
    "endless trailers": endless(_chunked(b"2\r\n{}\r\n0\r\n"), b"X: x\r\n" * 1000),
    "endless body": endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 2**16),
    "endless chunks": endless(_chunked(), b"1\r\n \r\n" * 1000),
    "slow header": endless(b"HTTP/1.1 200 OK\r\nX: ", b"x", pause=0.05),
    "slow body": endless(http({}, headers={"Content-Length": "9999"}), b" ", pause=0.05),
    "gzip bomb": lambda _: [_encoded("gzip", _gzip_bomb())],
    "gzip bomb in chunks": lambda _: [_gzip_bomb_in_chunks()],
    "not gzip": _encoded("gzip", b"{}"),
    "gzip cut off": _encoded("gzip", gzip.compress(b"{}" * 99)[:20]),
    "not deflate": _encoded("deflate", b"{}"),
    "not Brotli": _encoded("br", b"{}"),
    "not Zstandard": _encoded("zstd", b"{}"),
    "no body": http(b""),
    "HTML": http(b"<html>Welcome</html>"),
    "not UTF-8": http(b'{"error": "\xff"}'),
    "not JSON": http(b'{"predictions": [}'),
    "two documents": http(b"{}{}"),
    "deep lists": http(b"[" * 10**6),
    "deep objects": http(b'{"error":' * 10**5),
    "number of 5,000 digits": http(b'{"predictions": %b, "model_version_status": []}' % (b"9" * 5000)),
    "small lists": lambda _: [http(_lists(MAX_RESPONSE_BYTES))],
    "too many small lists": lambda _: [http(_lists(15 * 2**20))],
    "null": http(None),
    "number": http(1),
    "text": http("predictions"),
    "list": http([GOOD_METADATA]),
    "empty object": http({}),
    "error in a success": http({"error": "[/x]\x1b[2J"}),
    "long error": http({"error": "x" * 10**6}, "400 Bad Request"),
    "error that is a number": http({"error": 1}, "400 Bad Request"),
    "error that is a list": http({"error": ["no"]}, "500 Oops"),
    "deep error": http(b'{"error": %b%b}' % (b"[" * 900, b"]" * 900), "400 Bad Request"),
    "error without text": http({"error": ""}, "400 Bad Request"),
    "unavailable": http({"error": {"code": 503}}, "503 Service Unavailable", {"Retry-After": "9" * 400}),
    "unavailable until a date": http(b"", "503 Busy", {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}),
    "invalid cookies": http(b"", "404 Not Found", {"Set-Cookie": '\x1b[2J=[/x]; =;"; expires=\x07'}),
}

# `predictions` of one image.
WRONG_PREDICTIONS: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "text": b'"dog"',
    "object": b"{}",
    "too few": b"[]",
    "too many": json.dumps([GOOD_ROW, GOOD_ROW]).encode(),
    "row null": b"[null]",
    "row number": b"[0.5]",
    "row list": b'[["dog", 0.5]]',
    "row empty": b"[{}]",
    "no label": b'[{"dog_probability": 0.5}]',
    "no probability": b'[{"label": "dog"}]',
    "two probabilities": b'[{"dog_probability": 0.5, "cat_probability": 0.5, "label": "dog"}]',
    **{
        f"label {label}": b'[{"dog_probability": 0.5, "label": %b}]' % label.encode()
        for label in ("null", "1", "true", '["dog"]')
    },
    **{
        f"probability {value:.20}": b'[{"dog_probability": %b, "label": "dog"}]' % value.encode()
        for value in (
            *("null", "true", '"0.5"', "[0.5]", "NaN", "Infinity", "-Infinity", "1e999", "-0.01", "1.01"),
            *("9" * 400, "1" + "0" * 4000, "[" * 900 + "]" * 900),
        )
    },
}

# `version` of metadata and status.
WRONG_VERSIONS = [
    *("null", "true", "1.5", "1e999", "NaN", "-1", "9" * 30, "[]", "{}"),
    *('"-1"', '"x"', '"1_7"', '" 17"', '"１７"', f'"{"9" * 5000}"'),
]

# `model_version_status` of one version.
WRONG_STATUSES = [
    "null",
    "[null]",
    "[[]]",
    '[{"version": "1"}]',
    '[{"version": "1", "state": null}]',
    '[{"version": "1", "state": "END", "status": null}]',
    '[{"version": "1", "state": "END", "status": {"error_message": 5}}]',
]
