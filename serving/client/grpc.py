"""TensorFlow Serving's gRPC protocol. Importing this module imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client.protocol import (
    ModelSpec,
    Prediction,
    RequestRejected,
    Unreachable,
    VersionStatus,
    is_local,
    no_server_error,
    parse_prediction,
    single_line,
)
from serving.client.retries import RetryableError, RetryPolicy
from serving.errors import ServingError

INPUT = "image_bytes"

_STATE = get_model_status_pb2.ModelVersionStatus.State


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
                ("grpc.max_receive_message_length", -1),
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
        outputs = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
        rows: list[dict[str, object]] = [{} for _ in images]
        for name, values in outputs.items():
            if values.shape[:1] != (len(rows),):
                raise ServingError(
                    f"{self.url} returns the output {name} with shape {values.shape}; expected {len(rows)} "
                    "predictions."
                )
            for row, value in zip(rows, values, strict=True):
                row[name] = _to_json_value(value)
        version = response.model_spec.version.value if response.model_spec.HasField("version") else None
        return [parse_prediction(row, version, self.url) for row in rows]

    def metadata(self) -> dict[str, Any]:
        """Returns the same as over REST."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        response = self._call(self._predictions.GetModelMetadata, request)
        return json_format.MessageToDict(response, preserving_proto_field_name=True)

    def status(self) -> list[VersionStatus]:
        """Returns the status of each version."""
        response = self._call(
            self._models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec())
        )
        return [
            VersionStatus(status.version, _STATE.Name(status.state), status.status.error_message)
            for status in response.model_version_status
        ]

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

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        def attempt(seconds: float) -> Any:
            try:
                return method(request, timeout=seconds)
            except grpc.RpcError as error:
                raise self._translate(error.code(), error.details() or "") from None

        return self._retries.run(attempt)

    def _translate(self, code: grpc.StatusCode, text: str) -> RetryableError | RequestRejected:
        if code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in text.lower():
            return no_server_error(self.url)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return RetryableError(
                Unreachable(f"{self.url} is unavailable ({code.name}): {single_line(text)}.")
            )
        return RequestRejected(
            f"{self.url} rejects the request ({code.name}): {single_line(text)}.", code.name, text
        )


def _to_json_value(value: Any) -> object:
    """Converts an element of a tensor to the type that JSON would have."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.item() if isinstance(value, np.generic) else value
