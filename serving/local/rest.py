"""TensorFlow Serving's REST API, the Prometheus metrics and the page, on aiohttp."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from urllib.parse import unquote

import grpc
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from serving.local import metrics as prometheus
from serving.local import page, same_origin
from serving.local.batching import Batcher
from serving.local.metrics import ServerMetrics
from serving.local.options import MIB, RequestLimits
from serving.local.predict_json import PredictRequest, format_response, load_document, parse_request
from serving.local.servable import Servable
from serving.local.served_models import ServedModels
from serving.local.status import StatusError, invalid_argument
from serving.repository.versions import MAX_VERSION

_LARGE = MIB  # larger bodies, and responses that may become larger, are handled off the event loop
_IDLE_SECONDS = 60  # for a connection's first request, and between requests
_VERSION = r"(?:(?i:/versions/)0*(?P<version>[0-9]{1,19})|(?i:/labels/)(?P<label>[^/:]+))?"
_MODEL = r"(?i:/v1/models/)(?P<model>[^/:]+)" + _VERSION
_ROUTES = {
    "POST": re.compile(_MODEL + ":(?P<method>predict|classify|regress)"),
    "GET": re.compile(_MODEL + "(?:/(?P<method>(?i:metadata)))?"),
}
_BAD_REQUESTS = (HttpProcessingError, web.RequestPayloadError)
_logger = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_runner(
    batcher: Batcher,
    models: ServedModels,
    metrics: ServerMetrics,
    limits: RequestLimits,
    hosts: Iterable[str] = (),
) -> web.AppRunner:
    """Returns the HTTP server, not yet set up. Call this on the event loop that runs it.

    Args:
        batcher: Runs the models.
        models: The served models.
        metrics: Counts the requests.
        limits: Limits on a single request.
        hosts: The server's names, besides localhost, this machine's host name and IP addresses.
    """
    api = _RestApi(batcher, models, metrics, limits)
    requests = _RequestTracker()
    middlewares = [requests.middleware, same_origin.create_middleware(hosts)]
    app = web.Application(client_max_size=limits.max_body_bytes, middlewares=middlewares)
    app.router.add_get("/", api.page)
    app.router.add_get(prometheus.PATH, api.metrics_page)
    app.router.add_route("*", "/{api:[vV]1/.*}", api.handle)
    logging.getLogger("aiohttp.server").addFilter(_is_server_error)
    return _GracefulRunner(app, requests)


def _is_server_error(record: logging.LogRecord) -> bool:
    """Returns False for malformed HTTP from a client, which aiohttp logs with a traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], _BAD_REQUESTS))


class _RequestTracker:
    """Counts the requests in flight."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._stopping = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Counts the request; turns aiohttp's own errors, such as unknown paths, into the API's JSON."""
        self._in_flight += 1
        try:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = _error_response(error.status, error.text or error.reason)
            response.headers["Server"] = "catsdogs local server"
            # After a damaged body, aiohttp closes the connection without telling the client.
            if self._stopping or request.content.exception():
                response.force_close()
            return response
        finally:
            self._in_flight -= 1

    async def drain(self) -> None:
        """Waits until no request is in flight; every request has time limits."""
        self._stopping = True
        while self._in_flight:
            await asyncio.sleep(0.01)


class _GracefulRunner(web.AppRunner):
    """Completes the requests in flight before it closes connections; aiohttp would drop incomplete bodies."""

    def __init__(self, app: web.Application, requests: _RequestTracker) -> None:
        super().__init__(app, access_log=None, keepalive_timeout=_IDLE_SECONDS)
        self._requests = requests

    async def cleanup(self) -> None:
        for site in list(self.sites):
            await site.stop()
        await self._requests.drain()
        await super().cleanup()


@dataclass(frozen=True)
class _Route:
    """The model and method that a request's path names.

    Attributes:
        model: The model's name.
        version: The version number; None if the path has none.
        label: The version label; None if the path has none.
        method: `predict`, `classify`, `regress`, `metadata`, or empty for the status.
    """

    model: str
    version: int | None
    label: str | None
    method: str


class _RestApi:
    def __init__(
        self, batcher: Batcher, models: ServedModels, metrics: ServerMetrics, limits: RequestLimits
    ) -> None:
        self._batcher = batcher
        self._models = models
        self._metrics = metrics
        self._timeout_seconds = limits.request_timeout_seconds
        # One thread, as parsing takes many times a document's size in memory. Queued requests can time out.
        self._json_thread = ThreadPoolExecutor(1, "json")

    async def page(self, request: web.Request) -> web.Response:
        body, headers = page.render_page(self._models.names())
        return web.Response(body=body, headers=headers)

    async def metrics_page(self, request: web.Request) -> web.Response:
        if "?" in request.raw_path:
            return _error_response(400, f"Unexpected query: expected {prometheus.PATH}")
        return web.Response(body=self._metrics.page(), headers={"Content-Type": prometheus.CONTENT_TYPE})

    async def handle(self, request: web.Request) -> web.Response:
        """Handles every path that begins with `/v1/`."""
        started = time.perf_counter()
        route = None
        code = None
        try:
            body = await self._read_body(request)
            route = _parse_route(request)
            async with asyncio.timeout(self._timeout_seconds):
                response = _json_response(200, await self._dispatch(route, body))
        except TimeoutError:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            response = _error_response(504, f"The request exceeded the limit of {self._timeout_seconds:g} s.")
        except StatusError as error:
            code = error.code
            response = _error_response(error.http_status, error.message)
        except web.HTTPException as error:  # the body is too large, too slow or truncated
            code = grpc.StatusCode.INVALID_ARGUMENT
            response = _error_response(error.status, error.text or error.reason)
        except Exception as error:
            code = grpc.StatusCode.INTERNAL
            _logger.exception("%s %s failed", request.method, request.rel_url)
            response = _error_response(500, f"{type(error).__name__}: {error}")
        model = route.model if route and route.model in self._models.names() else ""
        method = route.method if route else ""
        self._metrics.request_finished(model, method, "REST", code, time.perf_counter() - started)
        return response

    async def _read_body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout(
                text=f"The body did not arrive within {self._timeout_seconds:g} seconds."
            ) from None
        except web.HTTPRequestEntityTooLarge as error:
            error.text = (
                f"{(error.text or '').rstrip('.')}: send fewer images per request, or raise --max-body-bytes"
            )
            raise
        except (web.RequestPayloadError, OSError) as error:  # bad chunks, bad gzip, or a lost connection
            raise web.HTTPBadRequest(text=f"The body is incomplete: {error}") from None

    async def _dispatch(self, route: _Route, body: bytes) -> bytes:
        if route.method == "metadata":
            return _format_metadata(self._models.get_servable(route.model, route.version, route.label))
        if not route.method:
            return _format_status(self._models.statuses(route.model, route.version))
        if route.method != "predict":
            text = f"The method {route.method} is not supported: use predict."
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED, text)
        servable, request = await self._run_json(len(body) >= _LARGE, self._parse, route, body)
        outputs = await self._batcher.run(servable, request.signature_name, request.inputs)
        values = sum(output.size for output in outputs.values())
        return await self._run_json(values >= _LARGE // 16, format_response, outputs, request.is_row)

    def _parse(self, route: _Route, body: bytes) -> tuple[Servable, PredictRequest]:
        document = load_document(
            body
        )  # first, as TensorFlow Serving reports bad JSON before an unknown model
        servable = self._models.get_servable(route.model, route.version, route.label)
        return servable, parse_request(document, servable.signature_defs)

    async def _run_json(
        self, is_large: bool, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Runs JSON work: at once if it is small, in the JSON thread if it is large."""
        if not is_large:
            return work(*args, **kwargs)

        def without_collector() -> _T:
            gc.disable()  # it would scan a document's millions of values and find nothing to collect
            try:
                return work(*args, **kwargs)
            finally:
                gc.enable()

        return await asyncio.get_running_loop().run_in_executor(self._json_thread, without_collector)


def _parse_route(request: web.Request) -> _Route:
    target = request.rel_url.raw_path_qs  # unescaped: names may contain escaped slashes, and never a query
    pattern = _ROUTES.get(request.method)
    match = pattern.fullmatch(target) if pattern else None
    version = int(match["version"]) if match and match["version"] else None
    is_empty_query = request.raw_path.endswith("?")  # which the parsed URL does not have
    if not match or is_empty_query or (version is not None and version > MAX_VERSION):
        raise invalid_argument(f"Malformed request: {request.method} {request.raw_path}")
    label = unquote(match["label"]) if match["label"] else None
    return _Route(unquote(match["model"]), version, label, (match["method"] or "").lower())


def _format_status(statuses: list[get_model_status_pb2.ModelVersionStatus]) -> bytes:
    response = get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)
    return json.dumps(_to_dict(response), indent=1).encode()


def _format_metadata(servable: Servable) -> bytes:
    spec = model_pb2.ModelSpec(name=servable.name)
    spec.version.value = servable.version
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
    document = {"model_spec": _to_dict(spec), "metadata": {"signature_def": _to_dict(signatures)}}
    return json.dumps(document, indent=1).encode()


def _to_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _json_response(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


def _error_response(status: int, message: str) -> web.Response:
    return _json_response(status, json.dumps({"error": message}).encode())
