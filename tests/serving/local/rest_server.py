"""A REST server with real models, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from serving.local import rest
from serving.local.batching import Batcher
from serving.local.metrics import ServerMetrics
from serving.local.models_config import config_source
from serving.local.options import RequestLimits
from serving.local.pixel_limit import PixelLimiter
from serving.local.served_models import ServedModels


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class RestServer:
    port: int

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Sends one request on a new connection, without escaping the path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            content = body.encode() if isinstance(body, str) else body
            connection.request(method, path, content, dict(headers or {}))
            response = connection.getresponse()
            return Response(response.status, dict(response.headers), response.read())


@contextlib.contextmanager
def rest_server(
    folders: Mapping[str, Path],
    config: Path,
    labels: Mapping[str, Mapping[str, int]] | None = None,
    limits: RequestLimits | None = None,
) -> Iterator[RestServer]:
    """Serves models.

    Args:
        folders: Each model's folder of versions, by its name.
        config: File to write the models.config to.
        labels: Version numbers by model and label.
        limits: Limits on a single request.
    """
    limits = limits or RequestLimits()
    entries = []
    for name, folder in folders.items():
        versions = (labels or {}).get(name, {}).items()
        labelled = " ".join(f'version_labels {{ key: "{key}" value: {number} }}' for key, number in versions)
        place = f'name: "{name}" base_path: "{folder}" model_platform: "tensorflow"'
        entries.append(f"config {{ {place} {labelled} }}")
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    models = ServedModels(config_source("", config.parent, config))
    models.start()
    assert models.wait_until_loaded(60)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[web.AppRunner, Batcher, int]:
        metrics = ServerMetrics()
        batcher = Batcher(PixelLimiter(limits.max_pixels).run, metrics)
        runner = rest.create_runner(batcher, models, metrics, limits)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        return runner, batcher, runner.addresses[0][1]

    runner, batcher, port = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    try:
        yield RestServer(port)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
        loop.call_soon_threadsafe(batcher.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        models.stop()
