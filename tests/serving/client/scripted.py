"""An HTTP server that answers as it is told, for what a real server does only in bad moments."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Answer:
    """What to answer; `broken` closes the connection in the middle of the body."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    broken: bool = False


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    body: Any


@dataclass
class Scripted:
    """A running server: its address, and what it was asked."""

    url: str
    asked: list[Asked]


@contextlib.contextmanager
def scripted(answer: Callable[[Asked], Answer], tls: tuple[Path, Path] | None = None) -> Iterator[Scripted]:
    """Runs a server on a free port; `tls` is its certificate and key."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # else header and body are two packets, and the second waits for 40 ms

        def do_GET(self) -> None:
            self._reply()

        do_POST = do_GET  # noqa: N815

        def _reply(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Asked(self.command, self.path, json.loads(data) if data else None)
            asked.append(request)
            reply = answer(request)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if reply.broken else body)
            self.close_connection = reply.broken

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield Scripted(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}", asked)
        finally:
            server.shutdown()
            serving.join()


def in_turn(*answers: Answer) -> Callable[[Asked], Answer]:
    """Gives one answer after another, the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def predictions(*probabilities: float) -> Answer:
    """Returns the answer of a model of cats and dogs."""
    rows = [{"dog_probability": one, "label": "dog" if one >= 0.5 else "cat"} for one in probabilities]
    return Answer(body={"predictions": rows})
