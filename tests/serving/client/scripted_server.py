"""An HTTP server with scripted responses, to test failures that a real server rarely has."""

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
class Response:
    """A response; `broken` closes the connection in the middle of the body."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    broken: bool = False


@dataclass
class ReceivedRequest:
    """A request that the server received."""

    method: str
    path: str
    body: Any


@dataclass
class ScriptedServer:
    """A running server: its URL and the requests that it received."""

    url: str
    requests: list[ReceivedRequest]


@contextlib.contextmanager
def scripted_server(
    respond: Callable[[ReceivedRequest], Response], tls: tuple[Path, Path] | None = None
) -> Iterator[ScriptedServer]:
    """Runs a server on a free port; `tls` holds its certificate and key files."""
    requests: list[ReceivedRequest] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # sends header and body in one packet; a second one would be delayed by 40 ms

        def do_GET(self) -> None:
            self._reply()

        do_POST = do_GET  # noqa: N815

        def _reply(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = ReceivedRequest(self.command, self.path, json.loads(data) if data else None)
            requests.append(request)
            response = respond(request)
            body = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if response.broken else body)
            self.close_connection = response.broken

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
            yield ScriptedServer(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}", requests)
        finally:
            server.shutdown()
            serving.join()


def respond_in_turn(*responses: Response) -> Callable[[ReceivedRequest], Response]:
    """Returns a function that sends one response after another and then repeats the last one."""
    remaining = list(responses)
    return lambda _: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def predictions_response(*probabilities: float) -> Response:
    """Returns a cats and dogs model's response with these dog probabilities."""
    rows = [{"dog_probability": value, "label": "dog" if value >= 0.5 else "cat"} for value in probabilities]
    return Response(body={"predictions": rows})
