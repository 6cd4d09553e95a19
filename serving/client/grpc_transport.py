"""TensorFlow Serving's gRPC protocol. Importing it imports TensorFlow, of whose protos it is made."""

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

from serving.client.transport import (
    ModelSpec,
    Prediction,
    RequestRejected,
    Retries,
    TryAgain,
    Unreachable,
    VersionStatus,
    is_here,
    no_server,
    one_line,
    prediction,
)
from serving.errors import ServingError

INPUT = "image_bytes"

_STATE = get_model_status_pb2.ModelVersionStatus.State


class GrpcTransport:
    """Asks one model over gRPC, without TLS. All threads share one connection.

    Args:
        target: HOST:PORT.
        model: Which model is asked.
        retries: How often and how long.
    """

    def __init__(self, target: str, model: ModelSpec, retries: Retries) -> None:
        self.where = f"grpc://{target}"
        self._model = model
        self._retries = retries
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_retries", 0),  # they are made, and counted, here
                ("grpc.enable_http_proxy", int(not is_here(self.where))),
            ],
        )
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, pictures: Sequence[bytes]) -> list[Prediction]:
        """Returns what the model says, in the order of the pictures.

        Raises:
            Refused: The server's refusal of all of them.
            ServingError: It cannot be reached, or is no such server.
        """
        request = predict_pb2.PredictRequest(model_spec=self._spec())
        request.inputs[INPUT].CopyFrom(tf.make_tensor_proto(list(pictures), tf.string))
        answer = self._ask(self._predictions.Predict, request)
        outputs = {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}
        rows: list[dict[str, object]] = [{} for _ in pictures]
        for name, values in outputs.items():
            if values.shape[:1] != (len(rows),):
                raise ServingError(f"{self.where} answers with what are not {len(rows)} predictions.")
            for row, value in zip(rows, values, strict=True):
                row[name] = _plain(value)
        version = answer.model_spec.version.value if answer.model_spec.HasField("version") else None
        return [prediction(row, version, self.where) for row in rows]

    def metadata(self) -> dict[str, Any]:
        """Returns the same as over REST."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        answer = self._ask(self._predictions.GetModelMetadata, request)
        return json_format.MessageToDict(answer, preserving_proto_field_name=True)

    def status(self) -> list[VersionStatus]:
        """Returns the versions that the server knows."""
        answer = self._ask(
            self._models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec())
        )
        return [
            VersionStatus(one.version, _STATE.Name(one.state), one.status.error_message)
            for one in answer.model_version_status
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

    def _ask(self, call: Callable[..., Any], request: Any) -> Any:
        def attempt(seconds: float) -> Any:
            try:
                return call(request, timeout=seconds)
            except grpc.RpcError as error:
                raise self._failure(error.code(), error.details() or "") from None

        return self._retries.run(attempt)

    def _failure(self, code: grpc.StatusCode, text: str) -> TryAgain | RequestRejected:
        if code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in text.lower():
            return no_server(self.where)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return TryAgain(Unreachable(f"{self.where} cannot answer now ({code.name}): {one_line(text)}."))
        return RequestRejected(f"{self.where} refuses ({code.name}): {one_line(text)}.", code.name, text)


def _plain(value: Any) -> object:
    """Returns an element of a tensor as JSON would give it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.item() if isinstance(value, np.generic) else value
