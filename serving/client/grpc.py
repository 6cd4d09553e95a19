"""TensorFlow Serving's gRPC protocol. Importing this module imports TensorFlow."""

from __future__ import annotations

import reprlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client.protocol import (
    LABEL,
    MAX_RESPONSE_BYTES,
    PROBABILITY_SUFFIX,
    ModelSpec,
    Prediction,
    RequestRejected,
    Unreachable,
    VersionStatus,
    is_local,
    no_server_error,
    parse_prediction,
    parse_version,
    single_line,
)
from serving.client.retries import RetryableError, RetryPolicy
from serving.errors import ServingError

INPUT = "image_bytes"

_STATE = get_model_status_pb2.ModelVersionStatus.State
_RETRYABLE = {  # overloaded or restarting, too slow, stopped before the server accepted the request
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


class GrpcTransport:
    """Sends requests to one model over gRPC, without TLS. All threads share one connection.

    Args:
        target: HOST:PORT.
        model: The model, with version or label.
        retries: Number of retries and time limit.
    """

    def __init__(self, target: str, model: ModelSpec, retries: RetryPolicy) -> None:
        self.url = f"grpc://{target}"
        self._model = model
        self._retries = retries
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
                ("grpc.compression_enabled_algorithms_bitset", 1),  # none, whose size is not limited
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_retries", 0),  # RetryPolicy retries
                ("grpc.enable_http_proxy", int(not is_local(self.url))),
            ],
        )
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, images: Sequence[bytes]) -> list[Prediction]:
        """Returns the predictions, in the order of the images.

        Raises:
            RequestRejected: The server rejects the request.
            ServingError: The server cannot be reached or sends an unexpected response.
        """
        request = predict_pb2.PredictRequest(model_spec=self._spec())
        request.inputs[INPUT].CopyFrom(tf.make_tensor_proto(list(images), tf.string))
        response = self._call(self._predictions.Predict, request)
        rows: list[dict[str, object]] = [{} for _ in images]
        for name, tensor in response.outputs.items():
            is_used = name == LABEL or name.endswith(PROBABILITY_SUFFIX)
            values = self._unpack(name, tensor, len(rows)) if is_used else [tensor] * len(rows)
            for row, value in zip(rows, values, strict=True):
                row[name] = value
        version = response.model_spec.version.value if response.model_spec.HasField("version") else None
        return [parse_prediction(row, version, self.url) for row in rows]

    def metadata(self) -> dict[str, Any]:
        """Returns the same as over REST."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        response = self._call(self._predictions.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        try:  # not the whole response as JSON: it can hold messages of any type, nested to any depth
            is_valid = response.metadata["signature_def"].Unpack(signatures)
            parse_version(response.model_spec.version.value)
        except (DecodeError, ValueError):
            is_valid = False
        if not is_valid:
            raise self._unexpected_response("without model metadata")
        signature_def = {"@type": response.metadata["signature_def"].type_url, **_to_json(signatures)}
        return {"model_spec": _to_json(response.model_spec), "metadata": {"signature_def": signature_def}}

    def status(self) -> list[VersionStatus]:
        """Returns the status of each version."""
        response = self._call(
            self._models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec())
        )
        try:
            return [
                VersionStatus(
                    parse_version(status.version), _STATE.Name(status.state), status.status.error_message
                )
                for status in response.model_version_status
            ]
        except ValueError:
            raise self._unexpected_response("without a model status") from None

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _spec(self) -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self._model.name)
        if self._model.version is not None:
            spec.version.value = self._model.version
        elif self._model.label is not None:
            spec.version_label = self._model.label
        return spec

    def _unpack(self, name: str, tensor: Any, count: int) -> list[object]:
        """Returns the values of a float or string tensor of shape [count].

        tf.make_ndarray would allocate memory for the tensor's shape before it looks for the values.

        Raises:
            ServingError: The tensor has another type or shape, or another number of values.
        """
        values: list[object] = []
        if tensor.dtype == types_pb2.DT_STRING:
            values = [value.decode(errors="replace") for value in tensor.string_val]
        elif tensor.dtype == types_pb2.DT_FLOAT and len(tensor.tensor_content) == 4 * count:
            values = [*struct.unpack(f"<{count}f", tensor.tensor_content)]
        elif tensor.dtype == types_pb2.DT_FLOAT:
            values = [*tensor.float_val]
        shape = [dimension.size for dimension in tensor.tensor_shape.dim]
        if shape != [count] or len(values) != count:
            raise ServingError(
                f"{self.url} returns the output {single_line(name)} with data type {tensor.dtype}, shape "
                f"{reprlib.repr(shape)} and {len(values)} values; expected {count} strings or 32-bit floats: "
                "use a model that this project exported."
            )
        return values

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        def attempt(seconds: float) -> Any:
            try:
                return method(request, timeout=seconds)
            except grpc.RpcError as error:
                raise self._translate(error.code(), error.details() or "") from None

        return self._retries.run(attempt)

    def _translate(self, code: grpc.StatusCode, text: str) -> RetryableError | ServingError:
        if code is grpc.StatusCode.UNAVAILABLE and "Failed parsing HTTP/2" in text:
            return self._unexpected_response("that is not HTTP/2")
        if code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in text.lower():
            return no_server_error(self.url)
        if code in _RETRYABLE:
            return RetryableError(
                Unreachable(f"{self.url} is unavailable ({code.name}): {single_line(text)}.")
            )
        return RequestRejected(
            f"{self.url} rejects the request ({code.name}): {single_line(text)}.", code.name, text
        )

    def _unexpected_response(self, description: str) -> ServingError:
        return ServingError(
            f"{self.url} is not TensorFlow Serving's gRPC port, usually 8500: it sent a response "
            f"{description}."
        )


def _to_json(message: Any) -> dict[str, Any]:
    content: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return content
