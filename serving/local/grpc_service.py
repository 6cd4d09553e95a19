"""TensorFlow Serving's gRPC services: Predict, GetModelMetadata and GetModelStatus; no others."""

from __future__ import annotations

import asyncio
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
from serving.local.limits import MIB, RequestLimits
from serving.local.metrics import Metrics
from serving.local.models import Models
from serving.local.servable import DEFAULT_SIGNATURE
from serving.local.status import StatusError, invalid_argument

_MOST_CALLS = 4096  # at a time; further ones are RESOURCE_EXHAUSTED
_LARGE = MIB  # messages and tensors from here on are worked on beside the event loop
_LONGEST_MESSAGE = 1024  # characters; as TensorFlow Serving cuts it: it travels in a header

_P = ParamSpec("_P")
_T = TypeVar("_T")


def server(batcher: Batcher, models: Models, metrics: Metrics, limits: RequestLimits) -> grpc.aio.Server:
    """Returns the gRPC side, without a port, and not started."""
    result = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a port that another server has is an error
        ],
        maximum_concurrent_rpcs=_MOST_CALLS,
    )
    service = _Service(batcher, models, metrics, limits)
    result.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.PredictionService",
                {
                    "Predict": _method(service.predict, predict_pb2.PredictRequest),
                    "GetModelMetadata": _method(
                        service.metadata, get_model_metadata_pb2.GetModelMetadataRequest
                    ),
                },
            ),
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.ModelService",
                {"GetModelStatus": _method(service.status, get_model_status_pb2.GetModelStatusRequest)},
            ),
        ]
    )
    return result


def _method(
    answer: Callable[[Any, float | None], Awaitable[Any]], request_type: Any
) -> grpc.RpcMethodHandler:
    """Returns a handler whose StatusErrors end the call as gRPC has it."""

    async def handle(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await answer(request, context.time_remaining())
        except StatusError as error:
            text = error.message
            if len(text) > _LONGEST_MESSAGE:
                text = text[:_LONGEST_MESSAGE] + "...TRUNCATED"
            await context.abort(error.code, text)

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=request_type.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


async def _worked(size: int, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Works at once, or beside the event loop where it takes long."""
    return work(*args, **kwargs) if size < _LARGE else await asyncio.to_thread(work, *args, **kwargs)


class _Service:
    def __init__(self, batcher: Batcher, models: Models, metrics: Metrics, limits: RequestLimits) -> None:
        self._batcher = batcher
        self._models = models
        self._metrics = metrics
        self._most_values = limits.max_body_bytes

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
        signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        servable.check_names(signature_name, request.inputs.keys())
        inputs = await _worked(request.ByteSize(), _inputs, request, self._most_values)
        outputs = await self._batcher.run(
            servable, signature_name, inputs, tuple(request.output_filter), timeout
        )
        size = sum(array.nbytes for array in outputs.values())
        return await _worked(size, _response, name, servable.version, signature_name, outputs)

    async def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, timeout: float | None
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if list(request.metadata_field) != ["signature_def"]:
            raise invalid_argument(
                f"Expected the metadata_field signature_def, and got {list(request.metadata_field)}"
            )
        servable = self._models.find(*_asked(request))
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
        response.metadata["signature_def"].Pack(signatures)
        return response

    async def status(
        self, request: get_model_status_pb2.GetModelStatusRequest, timeout: float | None
    ) -> get_model_status_pb2.GetModelStatusResponse:
        name, version, _ = _asked(request)
        statuses = self._models.statuses(name, version)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)


def _asked(request: Any) -> tuple[str, int | None, str | None]:
    """Returns the model's name, and the version or the label that is asked for."""
    spec: model_pb2.ModelSpec = request.model_spec
    if not spec.name:
        raise invalid_argument("The request's model_spec names no model")
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _inputs(request: predict_pb2.PredictRequest, most_values: int) -> dict[str, np.ndarray]:
    """Returns a request's tensors; strings as arrays of type object that hold bytes.

    Args:
        request: What came.
        most_values: Of all tensors together. One that has fewer values than its shape repeats the last.
    """
    inputs = {}
    for name, proto in request.inputs.items():
        shape = [dim.size for dim in proto.tensor_shape.dim]
        most_values -= math.prod(shape)
        if min(shape, default=0) < 0 or most_values < 0:
            raise invalid_argument(f"The input {name} has the shape {shape}, which is unknown or too large")
        try:
            inputs[name] = tf.make_ndarray(proto)
        except (KeyError, TypeError, ValueError, OverflowError) as error:  # KeyError: a type without values
            raise invalid_argument(f"The input {name} cannot be read: {error!r}") from None
    return inputs


def _response(
    name: str, version: int, signature_name: str, outputs: Mapping[str, np.ndarray]
) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version
    response.model_spec.signature_name = signature_name
    for key, array in outputs.items():
        _encode(array, response.outputs[key])
    return response


def _encode(array: np.ndarray, proto: TensorProto) -> None:
    """Writes an output into an empty message, its values in the field of their type, where clients look."""
    kind = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    proto.dtype = kind.as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    GetNumpyAppendFn(array.dtype)(proto, np.ascontiguousarray(array).reshape(-1))
