from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.flink.cluster import FlinkCluster
from tests.flink.packages import FlinkPackages

Serve = Callable[[dict[str, Any]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve({"/path": document})`: an HTTP server's address; integers are statuses, bytes are sent as is."""
    servers = []

    def start(documents: dict[str, Any]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                document = documents.get(self.path, 404)
                self.send_response(document if isinstance(document, int) else 200)
                self.end_headers()
                self.wfile.write(document if isinstance(document, bytes) else json.dumps(document).encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the cluster's workers see."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def cluster(flink_packages: FlinkPackages, shared: Path) -> Iterator[FlinkCluster]:
    """A Flink cluster with a job server, to which workers in the tests' process are "localhost"."""
    with FlinkCluster(flink_packages, shared, task_managers=1, slots=2, host_network=True) as cluster:
        yield cluster
