"""TensorFlow Serving's gRPC API: Predict, GetModelMetadata and GetModelStatus."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.python.framework.tensor_util import GetNumpyAppendFn
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from serving.local.batching import Batcher
from serving.local.metrics import ServerMetrics
from serving.local.options import MIB, RequestLimits
from serving.local.servable import DEFAULT_SIGNATURE
from serving.local.served_models import ServedModels
from serving.local.status import StatusError, invalid_argument

_MAX_CONCURRENT_CALLS = 4096  # further calls fail with RESOURCE_EXHAUSTED
_LARGE = MIB  # larger messages and tensors are converted off the event loop
_ACCEPT_SECONDS = 5.0
_MAX_ERROR_LENGTH = 1024  # characters, as in TensorFlow Serving: gRPC sends errors in a header

_P = ParamSpec("_P")
_T = TypeVar("_T")


def create_server(
    batcher: Batcher, models: ServedModels, metrics: ServerMetrics, limits: RequestLimits
) -> grpc.aio.Server:
    """Returns the gRPC server, without a port and not started."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # fail if another server has the port
        ],
        maximum_concurrent_rpcs=_MAX_CONCURRENT_CALLS,
    )
    service = _Service(batcher, models, metrics, limits)
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.PredictionService",
                {
                    "Predict": _method_handler(service.predict, predict_pb2.PredictRequest),
                    "GetModelMetadata": _method_handler(
                        service.metadata, get_model_metadata_pb2.GetModelMetadataRequest
                    ),
                },
            ),
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.ModelService",
                {
                    "GetModelStatus": _method_handler(
                        service.status, get_model_status_pb2.GetModelStatusRequest
                    )
                },
            ),
        ]
    )
    return server


async def accept_waiting_requests(address: str) -> None:
    """Waits until a server has accepted every request that has arrived: it cancels the others when it stops.

    In practice, once a request that is sent now has a response, the earlier ones have been accepted.
    """
    async with grpc.aio.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        with contextlib.suppress(grpc.aio.AioRpcError):  # there is no such method
            await channel.unary_unary("/")(b"", timeout=_ACCEPT_SECONDS)


def _method_handler(
    method: Callable[[Any, float | None], Awaitable[Any]], request_type: Any
) -> grpc.RpcMethodHandler:
    """Returns a gRPC handler that aborts the call on a StatusError."""

    async def handle(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await method(request, context.time_remaining())
        except StatusError as error:
            text = error.message
            if len(text) > _MAX_ERROR_LENGTH:
                text = text[:_MAX_ERROR_LENGTH] + "...TRUNCATED"
            await context.abort(error.code, text)

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=request_type.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


async def _run_inline_or_in_thread(
    size: int, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """Runs work at once if it is small, in a thread if it is large."""
    return work(*args, **kwargs) if size < _LARGE else await asyncio.to_thread(work, *args, **kwargs)


class _Service:
    def __init__(
        self, batcher: Batcher, models: ServedModels, metrics: ServerMetrics, limits: RequestLimits
    ) -> None:
        self._batcher = batcher
        self._models = models
        self._metrics = metrics
        self._max_values = limits.max_body_bytes

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
            known_name = name if name in self._models.names() else ""  # unknown names create no metrics
            self._metrics.request_finished(known_name, "Predict", "GRPC", code, time.perf_counter() - started)

    async def _predict(
        self, request: predict_pb2.PredictRequest, timeout: float | None
    ) -> predict_pb2.PredictResponse:
        name, version, label = _parse_model_spec(request)
        servable = self._models.get_servable(name, version, label)
        signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        servable.check_inputs(signature_name, request.inputs.keys())
        inputs = await _run_inline_or_in_thread(request.ByteSize(), _parse_inputs, request, self._max_values)
        outputs = await self._batcher.run(
            servable, signature_name, inputs, tuple(request.output_filter), timeout
        )
        size = sum(array.nbytes for array in outputs.values())
        return await _run_inline_or_in_thread(
            size, _build_response, name, servable.version, signature_name, outputs
        )

    async def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, timeout: float | None
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if list(request.metadata_field) != ["signature_def"]:
            raise invalid_argument(
                f"Expected the metadata_field signature_def, got {list(request.metadata_field)}"
            )
        servable = self._models.get_servable(*_parse_model_spec(request))
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
        response.metadata["signature_def"].Pack(signatures)
        return response

    async def status(
        self, request: get_model_status_pb2.GetModelStatusRequest, timeout: float | None
    ) -> get_model_status_pb2.GetModelStatusResponse:
        name, version, _ = _parse_model_spec(request)
        statuses = self._models.statuses(name, version)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)


def _parse_model_spec(request: Any) -> tuple[str, int | None, str | None]:
    """Returns the requested model, version and label; the last two may be None."""
    spec: model_pb2.ModelSpec = request.model_spec
    if not spec.name:
        raise invalid_argument("The request's model_spec has no model name")
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _parse_inputs(request: predict_pb2.PredictRequest, max_values: int) -> dict[str, np.ndarray]:
    """Converts a request's tensors; strings become arrays of type object that hold bytes.

    Args:
        request: The request.
        max_values: Most values of all tensors together. They are counted by their shapes: a tensor with fewer
            values than its shape repeats the last one.
    """
    inputs = {}
    for name, proto in request.inputs.items():
        shape = [dim.size for dim in proto.tensor_shape.dim]
        max_values -= math.prod(shape)
        if min(shape, default=0) < 0 or max_values < 0:
            raise invalid_argument(f"The input {name} has the shape {shape}, which is unknown or too large")
        try:
            inputs[name] = tf.make_ndarray(proto)
        except (
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
        ) as error:  # KeyError: a type without numpy values
            raise invalid_argument(f"The input {name} cannot be read: {error!r}") from None
    return inputs


def _build_response(
    name: str, version: int, signature_name: str, outputs: Mapping[str, np.ndarray]
) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version
    response.model_spec.signature_name = signature_name
    for key, array in outputs.items():
        _fill_tensor(array, response.outputs[key])
    return response


def _fill_tensor(array: np.ndarray, proto: TensorProto) -> None:
    """Fills an empty message, with the values in the field of their type, where clients expect them."""
    dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    proto.dtype = dtype.as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    GetNumpyAppendFn(array.dtype)(proto, np.ascontiguousarray(array).reshape(-1))
