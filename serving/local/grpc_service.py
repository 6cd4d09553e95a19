"""TensorFlow Serving's gRPC services: Predict, GetModelMetadata and GetModelStatus; no others."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
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
from serving.local.predictor import DEFAULT_SIGNATURE, Predictor
from serving.local.status import StatusError, invalid_argument

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
            message = error.message
            if len(message) > _LONGEST_MESSAGE:
                message = message[:_LONGEST_MESSAGE] + "...TRUNCATED"
            await context.abort(error.code, message)

    return grpc.unary_unary_rpc_method_handler(
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
