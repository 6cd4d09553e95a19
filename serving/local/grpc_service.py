"""TensorFlow Serving's gRPC services: Predict, GetModelMetadata and GetModelStatus; no others."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from serving.local import model_json, tensors
from serving.local.limits import MIB, Limits
from serving.local.metrics import Metrics
from serving.local.models import Models
from serving.local.predictor import Predictor
from serving.local.servable import DEFAULT_SIGNATURE
from serving.local.status import StatusError, invalid_argument, unavailable

_RECEIVED_AT_A_TIME = 64
_UNDISTURBED_SECONDS = 2  # what every message gets to arrive in, however many others wait
_LARGE = MIB  # messages and tensors from here on are worked on beside the event loop
_LONGEST_MESSAGE = 1024  # characters; as TensorFlow Serving cuts it: it travels in a header

_P = ParamSpec("_P")
_T = TypeVar("_T")


def server(predictor: Predictor, models: Models, metrics: Metrics, limits: Limits) -> grpc.aio.Server:
    """Returns the gRPC side, without a port, and not started."""
    result = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a port that another server has is an error
        ],
        maximum_concurrent_rpcs=limits.max_streams,
    )
    service = _Service(predictor, models, metrics, limits)
    inbox = _Inbox(limits)
    result.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.PredictionService",
                {
                    "Predict": _method(inbox, service.predict, predict_pb2.PredictRequest),
                    "GetModelMetadata": _method(
                        inbox, service.metadata, get_model_metadata_pb2.GetModelMetadataRequest
                    ),
                },
            ),
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.ModelService",
                {
                    "GetModelStatus": _method(
                        inbox, service.status, get_model_status_pb2.GetModelStatusRequest
                    )
                },
            ),
        ]
    )
    return result


class _Inbox:
    """Bounds the memory of all calls: a few messages are received at a time, and what is held is counted."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(_RECEIVED_AT_A_TIME)
        self._receiving: OrderedDict[asyncio.Timeout, float] = OrderedDict()  # since when, the longest first
        self._bytes = 0

    @contextlib.asynccontextmanager
    async def receive(self, context: grpc.aio.ServicerContext) -> AsyncIterator[tuple[bytes, _Share]]:
        """Gives a call's message and what counts its memory, until the block is left."""
        message = await self._received(context)
        if message is grpc.aio.EOF:
            raise invalid_argument("The call has no message.")
        share = _Share(self)
        try:
            share.take(len(message))
            yield message, share
        finally:
            self.take(-share.bytes)

    def take(self, count: int) -> None:
        """Counts bytes that are about to be held; negative ones are given back."""
        if count > 0 and self._bytes + count > self._limits.max_pending_bytes:
            raise unavailable(f"The server holds {self._bytes} bytes of messages already. Try again later.")
        self._bytes += count

    async def _received(self, context: grpc.aio.ServicerContext) -> Any:
        seconds = self._limits.body_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                if self._places.locked():
                    self._hurry_one()
                await self._places.acquire()
        except TimeoutError:
            text = f"The server has received too many messages at a time for {seconds:g} seconds."
            raise unavailable(f"{text} Try again later.") from None
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds) as timeout:
                self._receiving[timeout] = now
                return await context.read()
        except TimeoutError:
            if timeout in self._receiving:
                text = f"The message did not arrive within {seconds:g} seconds."
                raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, text) from None
            text = f"The message did not arrive within {_UNDISTURBED_SECONDS} seconds, and others wait."
            raise unavailable(f"{text} Try again later.") from None
        finally:
            self._receiving.pop(timeout, None)
            self._places.release()

    def _hurry_one(self) -> None:
        """Leaves the call that has been sending longest a little time only: silence is to hold no place."""
        if self._receiving:
            timeout, since = self._receiving.popitem(last=False)
            if not timeout.expired():
                timeout.reschedule(max(since + _UNDISTURBED_SECONDS, asyncio.get_running_loop().time()))


class _Share:
    """The bytes that one call holds."""

    def __init__(self, inbox: _Inbox) -> None:
        self._inbox = inbox
        self.bytes = 0

    def take(self, count: int) -> None:
        self._inbox.take(count)
        self.bytes += count


def _method(
    inbox: _Inbox, answer: Callable[[Any, _Share, float | None], Awaitable[Any]], request_type: Any
) -> grpc.RpcMethodHandler:
    """Returns a handler whose StatusErrors end the call as gRPC has it.

    To the caller it is a call with one message. Here it is a stream, so that the message is not received
    before there is room for it.
    """

    async def handle(_: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            async with inbox.receive(context) as (message, share):
                try:
                    request = await _worked(len(message), request_type.FromString, message)
                except DecodeError:
                    text = "The message cannot be parsed."
                    raise StatusError(grpc.StatusCode.INTERNAL, text) from None
                return await answer(request, share, context.time_remaining())
        except StatusError as error:
            text = error.message
            if len(text) > _LONGEST_MESSAGE:
                text = text[:_LONGEST_MESSAGE] + "...TRUNCATED"
            await context.abort(error.code, text)

    return grpc.stream_unary_rpc_method_handler(handle)  # of bytes, to read and write beside the event loop


async def _worked(size: int, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Works at once, or beside the event loop where it takes long."""
    return work(*args, **kwargs) if size < _LARGE else await asyncio.to_thread(work, *args, **kwargs)


class _Service:
    def __init__(self, predictor: Predictor, models: Models, metrics: Metrics, limits: Limits) -> None:
        self._predictor = predictor
        self._models = models
        self._metrics = metrics
        self._limits = limits

    async def predict(
        self, request: predict_pb2.PredictRequest, share: _Share, timeout: float | None
    ) -> bytes:
        started = time.perf_counter()
        code = None
        try:
            return await self._predict(request, share, timeout)
        except StatusError as error:
            code = error.code
            raise
        finally:
            name = request.model_spec.name
            known = name if name in self._models.names() else ""  # no metric for every name somebody tries
            self._metrics.request_finished(known, "Predict", "GRPC", code, time.perf_counter() - started)

    async def _predict(
        self, request: predict_pb2.PredictRequest, share: _Share, timeout: float | None
    ) -> bytes:
        name, version, label = _asked(request)
        servable = self._models.find(name, version, label)
        signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        servable.check_names(signature_name, request.inputs.keys())
        size = tensors.decoded_bytes(request.inputs, self._limits.max_body_bytes)
        share.take(size)
        inputs = await _worked(size, _inputs, request)
        outputs = await self._predictor.run(
            servable, signature_name, inputs, tuple(request.output_filter), timeout
        )
        size = sum(array.nbytes for array in outputs.values())
        return await _worked(size, _response, name, servable.version, signature_name, outputs)

    async def metadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        share: _Share,
        timeout: float | None,
    ) -> bytes:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid_argument(f"Metadata field {field} is not supported")
        servable = self._models.find(*_asked(request))
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata["signature_def"].Pack(model_json.signature_def_map(servable))
        return response.SerializeToString()

    async def status(
        self, request: get_model_status_pb2.GetModelStatusRequest, share: _Share, timeout: float | None
    ) -> bytes:
        spec = _spec(request)
        version = spec.version.value if spec.HasField("version") else None
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.extend(self._models.statuses(spec.name, version))
        return response.SerializeToString()


def _inputs(request: predict_pb2.PredictRequest) -> dict[str, np.ndarray]:
    return {name: tensors.decode(name, proto) for name, proto in request.inputs.items()}


def _response(name: str, version: int, signature_name: str, outputs: Mapping[str, np.ndarray]) -> bytes:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version
    response.model_spec.signature_name = signature_name
    for key, array in outputs.items():
        tensors.encode(array, response.outputs[key])
    return response.SerializeToString()


def _spec(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return request.model_spec


def _asked(request: Any) -> tuple[str, int | None, str | None]:
    """Returns the model's name, and the version or the label that is asked for."""
    spec = _spec(request)
    if not spec.name:
        raise invalid_argument("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )
