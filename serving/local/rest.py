"""TensorFlow Serving's REST API, with its errors and those of libevent's HTTP server beneath it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import grpc
import numpy as np
from aiohttp import web

from serving.local import classify, http_server, http_target, model_json, page
from serving.local import metrics as prometheus
from serving.local.http_server import error_page
from serving.local.http_target import Call, Target
from serving.local.json_examples import ExamplesRequest, parse_examples
from serving.local.json_inputs import PredictRequest, parse_predict
from serving.local.json_outputs import classify_body, error_body, predict_body, regress_body
from serving.local.limits import MIB, Limits
from serving.local.metrics import Metrics
from serving.local.models import Models
from serving.local.predictor import Predictor
from serving.local.request_body import Bodies, Refused
from serving.local.servable import DEFAULT_SIGNATURE, Servable
from serving.local.status import StatusError, invalid_argument

_METHODS = {"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"}
_JSON = {"Content-Type": "application/json"}
_LARGE = MIB  # bodies from here on, and answers that may become so large, are worked on beside the event loop
_logger = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def runner(predictor: Predictor, models: Models, metrics: Metrics, limits: Limits) -> web.ServerRunner:
    """Returns the server to set up and give a site; to be called on the event loop that runs it.

    Args:
        predictor: Answers predictions.
        models: What is served.
        metrics: Counts the requests.
        limits: What requests may cost.
    """
    return http_server.runner(_Api(predictor, models, metrics, limits).response, limits)


@dataclass
class _Reply:
    """What an API request is answered with.

    Attributes:
        body: The whole of it.
        status: HTTP's.
        headers: All but those of the connection.
        code: The error, as the metrics count it; None for an answer.
        call: Whom it was for.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: dict(_JSON))
    code: grpc.StatusCode | None = None
    call: Call = field(default_factory=Call)


class _Api:
    def __init__(self, predictor: Predictor, models: Models, metrics: Metrics, limits: Limits) -> None:
        self._predictor = predictor
        self._models = models
        self._metrics = metrics
        self._limits = limits
        self._bodies = Bodies(limits)
        # One at a time, as a large document takes many times its size in memory. What waits has its deadline.
        self._beside = ThreadPoolExecutor(1, "json")

    @contextlib.asynccontextmanager
    async def response(self, request: web.BaseRequest) -> AsyncIterator[web.Response]:
        """Gives the response to one HTTP request, and counts its bytes until the block is left."""
        async with contextlib.AsyncExitStack() as held:
            yield await self._response(request, held)

    async def _response(self, request: web.BaseRequest, held: contextlib.AsyncExitStack) -> web.Response:
        target = http_target.target(request.raw_path)
        if target is None:
            return error_page(400)
        if request.method not in _METHODS:
            return error_page(501)
        if target.path == prometheus.PATH:
            return self._metrics_page(target)
        if target.is_api:
            return await self._api_response(request, target, held)
        if target.path == "/" and request.method in ("GET", "HEAD"):
            body, headers = page.render(self._models.names())
            return web.Response(body=body, headers=headers)
        return error_page(404)

    def _metrics_page(self, target: Target) -> web.Response:
        if target.whole == prometheus.PATH:
            return web.Response(body=self._metrics.page(), headers={"Content-Type": prometheus.CONTENT_TYPE})
        text = f"Unexpected path: {target.whole}. Should be {prometheus.PATH}"
        return web.Response(status=400, body=text.encode(), headers={"Content-Type": "text/plain"})

    async def _api_response(
        self, request: web.BaseRequest, target: Target, held: contextlib.AsyncExitStack
    ) -> web.Response:
        started = time.perf_counter()
        try:
            pending = await held.enter_async_context(self._bodies.read(request))
            reply = await self._reply(request, target, pending.body)
            pending.answered(reply.body)
        except Refused as refused:
            response = web.Response(status=refused.status, body=error_body(refused.reason), headers=_JSON)
            response.force_close()
            return response
        call = reply.call
        model = call.model if call.model in self._models.names() else ""
        self._metrics.request_finished(model, call.method, "REST", reply.code, time.perf_counter() - started)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    async def _reply(self, request: web.BaseRequest, target: Target, body: bytes) -> _Reply:
        if request.method == "OPTIONS":
            return _preflight(request)
        try:
            call = http_target.call(request.method, target.whole)
        except StatusError as error:
            # TensorFlow Serving returns before it has written the error down: the body stays empty.
            return _Reply(b"", error.http_status, code=error.code)
        seconds = self._limits.request_timeout_seconds
        try:
            if call is None:
                raise _malformed(request, target)
            async with asyncio.timeout(seconds):
                return _Reply(await self._called(request, target, call, body), call=call)
        except TimeoutError:
            text = f"The request was not answered within {seconds:g} s."
            return _failure(StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, text), call)
        except StatusError as error:
            return _failure(error, call)
        except Exception as error:
            _logger.exception("%s %s failed", request.method, target.whole)
            return _failure(StatusError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"), call)

    async def _called(self, request: web.BaseRequest, target: Target, call: Call, body: bytes) -> bytes:
        if request.method == "GET":
            if not call.model:
                raise invalid_argument("Missing model name in request.")
            if call.method == "metadata":
                return model_json.metadata_body(self._models.find(call.model, call.version, call.label))
            return model_json.status_body(self._models.statuses(call.model, call.version))
        if call.method == "predict":
            return await self._predict(call, body)
        if call.method in ("classify", "regress"):
            return await self._judge(call, body)
        raise _malformed(request, target)

    async def _predict(self, call: Call, body: bytes) -> bytes:
        servable, request = await self._run(len(body) >= _LARGE, self._parse, call, body)
        outputs = await self._predictor.run(servable, request.signature_name, request.inputs)
        return await self._run(_is_large(outputs), predict_body, outputs, request.is_row)

    async def _judge(self, call: Call, body: bytes) -> bytes:
        """Answers classify and regress."""
        request = await self._run(len(body) >= _LARGE, self._parse_examples, body)
        servable = self._models.find(call.model, call.version, call.label)
        name = request.signature_name or DEFAULT_SIGNATURE
        if name not in servable.signature_defs:
            raise invalid_argument(f"No signature was found with the name: {name}")
        classify.check_signature(call.method, servable.signature_defs[name])
        outputs = await self._predictor.run(servable, name, classify.inputs(request.examples))
        written = _regressed if call.method == "regress" else _classified
        return await self._run(_is_large(outputs), written, outputs, len(request.examples))

    def _parse(self, call: Call, body: bytes) -> tuple[Servable, PredictRequest]:
        found: list[Servable] = []

        def signature_inputs(name: str) -> Any:
            servable = self._models.find(call.model, call.version, call.label)
            found.append(servable)
            name = name or DEFAULT_SIGNATURE
            if name not in servable.signature_defs:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            return servable.signature_defs[name].inputs

        self._check_values(body)
        request = parse_predict(body, signature_inputs)
        return found[0], request

    def _parse_examples(self, body: bytes) -> ExamplesRequest:
        self._check_values(body)
        return parse_examples(body)

    def _check_values(self, body: bytes) -> None:
        limit = self._limits.max_values
        if len(body) <= limit:
            return
        values = sum(map(body.count, (b",", b":", b"[", b"{")))
        if values > limit:
            raise invalid_argument(
                f"The body has about {values} JSON values; this server takes at most {limit}. "
                "Send fewer rows at a time."
            )

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


def _is_large(outputs: Mapping[str, np.ndarray]) -> bool:
    return sum(output.size for output in outputs.values()) >= _LARGE // 16


def _regressed(outputs: Mapping[str, np.ndarray], examples: int) -> bytes:
    return regress_body(classify.regressions(outputs, examples))


def _classified(outputs: Mapping[str, np.ndarray], examples: int) -> bytes:
    return classify_body(classify.classifications(outputs, examples))


def _failure(error: StatusError, call: Call | None) -> _Reply:
    return _Reply(error_body(error.message), error.http_status, code=error.code, call=call or Call())


def _malformed(request: web.BaseRequest, target: Target) -> StatusError:
    return invalid_argument(f"Malformed request: {request.method} {target.whole}")


def _preflight(request: web.BaseRequest) -> _Reply:
    """Answers OPTIONS as TensorFlow Serving does without its option for CORS: permitting nothing."""
    headers = {"Content-Type": "text/html; charset=ISO-8859-1"}
    if re.search("https?://", request.headers.get("Origin", "")):
        return _Reply(b"", headers=headers)
    return _Reply(b"", 400, headers, grpc.StatusCode.FAILED_PRECONDITION)
