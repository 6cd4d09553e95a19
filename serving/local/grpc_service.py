"""TensorFlow Serving's gRPC services: Predict, GetModelMetadata and GetModelStatus; no others."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from serving.local import tensors
from serving.local.limits import Limits
from serving.local.metrics import Metrics
from serving.local.models import Models
from serving.local.predictor import Predictor
from serving.local.servable import DEFAULT_SIGNATURE
from serving.local.status import StatusError, invalid_argument, unavailable

_RECEIVED_AT_A_TIME = 64
_LONGEST_MESSAGE = 1024  # characters; as TensorFlow Serving cuts it: it travels in a header


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
    """Bounds the memory of all messages: a few are received at a time, and those under way are counted."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._receiving = asyncio.Semaphore(_RECEIVED_AT_A_TIME)
        self._bytes = 0

    @contextlib.asynccontextmanager
    async def receive(self, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        """Gives a call's message, and counts it until the block is left."""
        seconds = self._limits.body_timeout_seconds
        try:
            async with self._receiving, asyncio.timeout(seconds):
                request = await context.read()
        except TimeoutError:
            text = f"The message did not arrive within {seconds:g} seconds."
            raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, text) from None
        if request is grpc.aio.EOF:
            raise invalid_argument("The call has no message.")
        size = request.ByteSize()
        if self._bytes + size > self._limits.max_pending_bytes:
            raise unavailable(f"The server holds {self._bytes} bytes of messages already. Try again later.")
        self._bytes += size
        try:
            yield request
        finally:
            self._bytes -= size


def _method(
    inbox: _Inbox, answer: Callable[[Any, float | None], Awaitable[Any]], request_type: Any
) -> grpc.RpcMethodHandler:
    """Returns a handler whose StatusErrors end the call as gRPC has it.

    To the caller it is a call with one message. Here it is a stream, so that the message is not received
    before there is room for it.
    """

    async def handle(_: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            async with inbox.receive(context) as request:
                return await answer(request, context.time_remaining())
        except StatusError as error:
            message = error.message
            if len(message) > _LONGEST_MESSAGE:
                message = message[:_LONGEST_MESSAGE] + "...TRUNCATED"
            await context.abort(error.code, message)

    return grpc.stream_unary_rpc_method_handler(
        handle,
        request_deserializer=request_type.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


class _Service:
    def __init__(self, predictor: Predictor, models: Models, metrics: Metrics, limits: Limits) -> None:
        self._predictor = predictor
        self._models = models
        self._metrics = metrics
        self._limits = limits

    async def predict(
        self, request: predict_pb2.PredictRequest, timeout: float | None
    ) -> predict_pb2.PredictResponse:
        started = time.perf_counter()
        code = None
        try:
            return await self._predict(request, timeout)
        except StatusError as error:
            code = error.code
            raise
        finally:
            name = request.model_spec.name
            known = name if name in self._models.names() else ""  # no metric for every name somebody tries
            self._metrics.request_finished(known, "Predict", "GRPC", code, time.perf_counter() - started)

    async def _predict(
        self, request: predict_pb2.PredictRequest, timeout: float | None
    ) -> predict_pb2.PredictResponse:
        name, version, label = _asked(request)
        servable = self._models.find(name, version, label)
        inputs = {
            key: tensors.decode(key, proto, self._limits.max_body_bytes)
            for key, proto in request.inputs.items()
        }
        signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        outputs = await self._predictor.run(
            servable, signature_name, inputs, tuple(request.output_filter), timeout
        )
        response = predict_pb2.PredictResponse()
        response.model_spec.name = name
        response.model_spec.version.value = servable.version
        response.model_spec.signature_name = signature_name
        for key, array in outputs.items():
            response.outputs[key].CopyFrom(tensors.encode(array))
        return response

    async def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, timeout: float | None
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid_argument(f"Metadata field {field} is not supported")
        servable = self._models.find(*_asked(request))
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, signature in servable.signature_defs.items():
            signatures.signature_def[key].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata["signature_def"].Pack(signatures)
        return response

    async def status(
        self, request: get_model_status_pb2.GetModelStatusRequest, timeout: float | None
    ) -> get_model_status_pb2.GetModelStatusResponse:
        spec = _spec(request)
        version = spec.version.value if spec.HasField("version") else None
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.extend(self._models.statuses(spec.name, version))
        return response


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
