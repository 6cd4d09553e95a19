"""TensorFlow Serving's REST API, the metrics and the page, on aiohttp."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import unquote

import grpc
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from serving.local import metrics as prometheus
from serving.local import page
from serving.local.batching import Batcher
from serving.local.limits import MIB, RequestLimits
from serving.local.metrics import Metrics
from serving.local.models import Models
from serving.local.predict_json import PredictRequest, parse_predict, predict_body
from serving.local.servable import DEFAULT_SIGNATURE, Servable
from serving.local.status import StatusError, invalid_argument
from serving.repository.versions import MAX_VERSION

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

_LARGE = MIB  # bodies from here on, and answers that may become so large, are worked on beside the event loop
_IDLE_SECONDS = 60  # for a connection's first request, and for the next one
_VERSION = r"(?:(?i:/versions/)0*(?P<version>[0-9]{1,19})|(?i:/labels/)(?P<label>[^/:]+))?"
_MODEL = r"(?i:/v1/models/)(?P<model>[^/:]+)" + _VERSION
_TARGETS = {
    "POST": re.compile(_MODEL + ":(?P<method>predict|classify|regress)"),
    "GET": re.compile(_MODEL + "(?:/(?P<method>(?i:metadata)))?"),
}
_BAD_REQUESTS = (HttpProcessingError, web.RequestPayloadError)
_logger = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def runner(batcher: Batcher, models: Models, metrics: Metrics, limits: RequestLimits) -> web.AppRunner:
    """Returns the server to set up and give a site; to be called on the event loop that runs it.

    Args:
        batcher: Runs the models.
        models: What is served.
        metrics: Counts the requests.
        limits: What requests may cost.
    """
    api = _Api(batcher, models, metrics, limits)
    under_way = _UnderWay()
    app = web.Application(
        client_max_size=limits.max_body_bytes, middlewares=[under_way.middleware, _errors_as_json]
    )
    app.router.add_get("/", api.page)
    app.router.add_get(prometheus.PATH, api.metrics_page)
    app.router.add_route("*", "/{api:[vV]1/.*}", api.call)
    app.on_response_prepare.append(_name_server)
    logging.getLogger("aiohttp.server").addFilter(_is_no_bad_request)
    return _Runner(app, under_way)


def _is_no_bad_request(record: logging.LogRecord) -> bool:
    """Whether aiohttp logs anything but a client's bad HTTP, for which it prints a traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], _BAD_REQUESTS))


class _UnderWay:
    """Knows how many requests are under way."""

    def __init__(self) -> None:
        self._count = 0
        self._stopping = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        self._count += 1
        try:
            response = await handler(request)
            if self._stopping:
                response.force_close()
            return response
        finally:
            self._count -= 1

    async def finish(self) -> None:
        """Waits until all requests are answered; each has its time limits."""
        self._stopping = True
        while self._count:
            await asyncio.sleep(0.01)


class _Runner(web.AppRunner):
    """Answers what is under way before it closes connections; aiohttp drops bodies that still arrive then."""

    def __init__(self, app: web.Application, under_way: _UnderWay) -> None:
        super().__init__(app, access_log=None, keepalive_timeout=_IDLE_SECONDS)
        self._under_way = under_way

    async def cleanup(self) -> None:
        for site in list(self.sites):
            await site.stop()
        await self._under_way.finish()
        await super().cleanup()


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Answers aiohttp's own refusals, of paths that it does not know, in the API's form."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _error(error.status, error.text or error.reason)


async def _name_server(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "catsdogs local server"


@dataclass(frozen=True)
class _Call:
    """Which model is meant, and what for.

    Attributes:
        model: The model's name.
        version: A version's number, if one is named.
        label: A version's label, if one is named.
        method: `predict`, `classify`, `regress`, `metadata`, or empty for the status.
    """

    model: str
    version: int | None
    label: str | None
    method: str


class _Api:
    def __init__(self, batcher: Batcher, models: Models, metrics: Metrics, limits: RequestLimits) -> None:
        self._batcher = batcher
        self._models = models
        self._metrics = metrics
        self._seconds = limits.request_timeout_seconds
        # One at a time, as a large document takes many times its size in memory. What waits has its deadline.
        self._beside = ThreadPoolExecutor(1, "json")

    async def page(self, request: web.Request) -> web.Response:
        body, headers = page.render(self._models.names())
        return web.Response(body=body, headers=headers)

    async def metrics_page(self, request: web.Request) -> web.Response:
        if request.query_string:
            return _error(400, f"Unexpected query: expected {prometheus.PATH}")
        return web.Response(body=self._metrics.page(), headers={"Content-Type": prometheus.CONTENT_TYPE})

    async def call(self, request: web.Request) -> web.Response:
        """Answers whatever begins with `/v1/`."""
        started = time.perf_counter()
        call = None
        code = None
        try:
            body = await self._body(request)
            call = _call(request)
            async with asyncio.timeout(self._seconds):
                response = _json_response(200, await self._called(call, body))
        except TimeoutError:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            response = _error(504, f"The request was not answered within {self._seconds:g} s.")
        except StatusError as error:
            code = error.code
            response = _error(error.http_status, error.message)
        except web.HTTPException as error:  # of a body that is too large, too slow or cut short
            code = grpc.StatusCode.INVALID_ARGUMENT
            response = _error(error.status, error.text or error.reason)
        except Exception as error:
            code = grpc.StatusCode.INTERNAL
            _logger.exception("%s %s failed", request.method, request.rel_url)
            response = _error(500, f"{type(error).__name__}: {error}")
        model = call.model if call and call.model in self._models.names() else ""
        method = call.method if call else ""
        self._metrics.request_finished(model, method, "REST", code, time.perf_counter() - started)
        return response

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                return await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout(
                text=f"The body did not arrive within {self._seconds:g} seconds."
            ) from None
        except web.HTTPRequestEntityTooLarge as error:
            error.text = f"{error.text}: send fewer pictures at a time, or raise --max-body-bytes"
            raise
        except (web.RequestPayloadError, OSError) as error:  # bad chunks, bad gzip, or the client has gone
            raise web.HTTPBadRequest(text=f"The body was cut short: {error}") from None

    async def _called(self, call: _Call, body: bytes) -> bytes:
        if call.method == "metadata":
            return _metadata_body(self._models.find(call.model, call.version, call.label))
        if not call.method:
            return _status_body(self._models.statuses(call.model, call.version))
        if call.method != "predict":
            text = f"This server answers predict calls, and not {call.method}."
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED, text)
        servable, request = await self._run(len(body) >= _LARGE, self._parse, call, body)
        outputs = await self._batcher.run(servable, request.signature_name, request.inputs)
        values = sum(output.size for output in outputs.values())
        return await self._run(values >= _LARGE // 16, predict_body, outputs, request.is_row)

    def _parse(self, call: _Call, body: bytes) -> tuple[Servable, PredictRequest]:
        found: list[Servable] = []

        def signature_inputs(name: str) -> Mapping[str, TensorInfo]:
            servable = self._models.find(call.model, call.version, call.label)
            found.append(servable)
            name = name or DEFAULT_SIGNATURE
            if name not in servable.signature_defs:
                raise invalid_argument(f"The model has no signature {name[:100]}")
            return servable.signature_defs[name].inputs

        request = parse_predict(body, signature_inputs)
        return found[0], request

    async def _run(self, beside: bool, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Works at once, or beside the event loop."""
        if not beside:
            return work(*args, **kwargs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._beside, _uncollected, lambda: work(*args, **kwargs))


def _uncollected(work: Callable[[], _T]) -> _T:
    """Works without the garbage collector, which would go through a document's millions of values in vain."""
    gc.disable()
    try:
        return work()
    finally:
        gc.enable()


def _call(request: web.Request) -> _Call:
    target = request.rel_url.raw_path_qs  # as it came: names may have escaped slashes, and never a query
    pattern = _TARGETS.get(request.method)
    found = pattern.fullmatch(target) if pattern else None
    version = int(found["version"]) if found and found["version"] else None
    if not found or (version is not None and version > MAX_VERSION):
        raise invalid_argument(f"Malformed request: {request.method} {target}")
    label = unquote(found["label"]) if found["label"] else None
    return _Call(unquote(found["model"]), version, label, (found["method"] or "").lower())


def _status_body(statuses: list[get_model_status_pb2.ModelVersionStatus]) -> bytes:
    response = get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)
    return json.dumps(_as_dict(response), indent=1).encode()


def _metadata_body(servable: Servable) -> bytes:
    spec = model_pb2.ModelSpec(name=servable.name)
    spec.version.value = servable.version
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
    document = {"model_spec": _as_dict(spec), "metadata": {"signature_def": _as_dict(signatures)}}
    return json.dumps(document, indent=1).encode()


def _as_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _json_response(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    return _json_response(status, json.dumps({"error": message}).encode())
