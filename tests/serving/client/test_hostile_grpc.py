"""Each response of a broken or hostile gRPC server becomes predictions or one error."""

from __future__ import annotations

import gzip
import time
from typing import Any

import pytest

from serving.client import Client
from serving.client.protocol import MAX_RESPONSE_BYTES
from serving.errors import ServingError
from tests.serving.client import hostile_server
from tests.serving.client.hostile_server import Chunks, grpc

pytestmark = pytest.mark.slow  # imports TensorFlow

TIMEOUT = 5.0
STRING, FLOAT = 7, 1  # DataType


def send(name: str, content: bytes | Chunks) -> Any:
    """Sends a request to a server that responds with the content; returns the result."""
    arguments = [[b"image"]] if name == "predict" else []
    with (
        hostile_server.running(lambda _: content) as address,
        Client(f"grpc://{address}", timeout=TIMEOUT, retries=0) as client,
    ):
        return getattr(client, name)(*arguments)


def tensor(dtype: int, shape: list[int], **values: Any) -> Any:
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2

    dim = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in shape]
    return tensor_pb2.TensorProto(
        dtype=dtype, tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=dim), **values
    )


def predictions(probability: Any = None, label: Any = None, **others: Any) -> bytes:
    """Returns a serialized response; a prediction of dog, 0.5, unless other outputs are given."""
    from tensorflow_serving.apis import predict_pb2

    outputs = {
        "dog_probability": probability or tensor(FLOAT, [1], float_val=[0.5]),
        "label": label or tensor(STRING, [1], string_val=[b"dog"]),
        **others,
    }
    serialized: bytes = predict_pb2.PredictResponse(outputs=outputs).SerializeToString()
    return serialized


def test_values_may_be_packed_and_other_outputs_have_any_shape() -> None:
    packed = tensor(FLOAT, [1], tensor_content=b"\0\0\0\x3f")
    for message in (predictions(), predictions(packed), predictions(embedding=tensor(FLOAT, [1, 2**40]))):
        [prediction] = send("predict", grpc(message))
        assert (prediction.probability, prediction.label) == (0.5, "dog")


def test_label_that_is_not_utf8() -> None:
    [prediction] = send("predict", grpc(predictions(label=tensor(STRING, [1], string_val=[b"\xff\x1b"]))))
    assert prediction.label == "\ufffd\x1b"


@pytest.mark.parametrize(
    ("dtype", "shape", "values"),
    [
        (FLOAT, [1, 250_000_000], {"float_val": [0.5]}),
        (FLOAT, [2**62], {}),
        (FLOAT, [1], {}),
        (FLOAT, [-1], {"float_val": [0.5]}),
        (FLOAT, [], {"float_val": [0.5]}),
        (FLOAT, [1] * 1000, {"float_val": [0.5]}),
        (FLOAT, [2], {"float_val": [0.5, 0.5]}),
        (FLOAT, [1], {"float_val": [0.5, 0.5]}),
        (FLOAT, [1], {"tensor_content": b"\0"}),
        (FLOAT, [1], {"tensor_content": b"\0" * 400}),
        (FLOAT, [1], {"float_val": [float("nan")]}),
        (FLOAT, [1], {"float_val": [1.5]}),
        (STRING, [1], {"string_val": [b"0.5"]}),
        *((dtype, [1], {}) for dtype in (0, 2, 3, 8, 20, 21, 101, 999)),
    ],
)
def test_a_wrong_tensor_is_an_error_that_names_the_output(
    dtype: int, shape: list[int], values: dict[str, Any]
) -> None:
    message = predictions(tensor(dtype, shape, **values))
    with pytest.raises(ServingError, match="dog_probability") as error:
        send("predict", grpc(message))
    assert len(str(error.value)) < 300


def test_memory_does_not_grow_with_a_promised_shape() -> None:
    import tracemalloc

    message = predictions(tensor(FLOAT, [1, 250_000_000], float_val=[0.5]))
    assert len(message) < 200
    tracemalloc.start()
    with pytest.raises(ServingError):
        send("predict", grpc(message))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


def test_a_response_without_the_outputs_is_an_error() -> None:
    from tensorflow_serving.apis import predict_pb2

    for outputs in ({}, {"y": tensor(FLOAT, [1], float_val=[0.5])}):
        with pytest.raises(ServingError, match="y .TensorProto" if outputs else "nothing"):
            send("predict", grpc(predict_pb2.PredictResponse(outputs=outputs).SerializeToString()))


BROKEN: dict[str, bytes | Chunks] = {
    "no response": b"",
    "HTTP/1": hostile_server.http({"error": "[/x]"}),
    "HTML": hostile_server.http(b"<html>", "404 Not Found"),
    "TLS": b"\x15\x03\x01\x00\x02\x02\x16",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "garbage": grpc(b"\xff" * 50),
    "connection closed": grpc(b"", broken=True),
    "not compressed": grpc(b"\0", encoding="gzip"),
    "unknown compression": grpc(b"\0", encoding="zip"),
    **{
        f"status {code}": grpc(b"", status=code)
        for code in ("1", "13", "16", "17", "99", "-1", "x", "9" * 40)
    },
    "hostile text": grpc(b"", status="3", detail="%1B[2J%0A[/x]%FF"),
    "unavailable": grpc(b"", status="14", detail="%1B[2J"),
}


@pytest.mark.parametrize("name", ["predict", "metadata", "status"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_response_is_an_error_within_the_time_limit(kind: str, name: str) -> None:
    started = time.monotonic()
    with pytest.raises(ServingError, match="grpc://127") as error:
        send(name, BROKEN[kind])
    assert time.monotonic() - started < TIMEOUT + 3
    assert str(error.value).isprintable()


def test_the_size_of_a_response_is_limited() -> None:
    with pytest.raises(ServingError, match="larger than max"):
        send("predict", grpc(bytes(MAX_RESPONSE_BYTES + 1)))
    with pytest.raises(ServingError, match="gzip"):  # whose size is known only when it is unpacked
        send("predict", grpc(gzip.compress(predictions()), encoding="gzip"))


def test_the_rest_port_is_named_as_such() -> None:
    with pytest.raises(ServingError, match="8500.*HTTP/2"):
        send("status", BROKEN["HTTP/1"])


def metadata(type_url: str, value: bytes, version: int = 17) -> bytes:
    from tensorflow_serving.apis import get_model_metadata_pb2

    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.version.value = version
    response.metadata["signature_def"].type_url = type_url
    response.metadata["signature_def"].value = value
    serialized: bytes = response.SerializeToString()
    return serialized


SIGNATURES = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


@pytest.mark.parametrize(
    ("type_url", "value", "version"),
    [
        ("type.googleapis.com/no.Such", b"", 17),
        ("type.googleapis.com/google.protobuf.Struct", b"", 17),
        ("\x1b", b"", 17),
        ("", b"", 17),
        (SIGNATURES, b"\xff", 17),
        (SIGNATURES, b"", -1),
    ],
)
def test_wrong_metadata_is_an_error(type_url: str, value: bytes, version: int) -> None:
    with pytest.raises(ServingError, match="8500"):
        send("metadata", grpc(metadata(type_url, value, version)))


def test_metadata_without_signatures() -> None:
    assert send("metadata", grpc(metadata(SIGNATURES, b""))) == {
        "model_spec": {"version": "17"},
        "metadata": {"signature_def": {"@type": SIGNATURES}},
    }


@pytest.mark.parametrize("status", [{"version": -1, "state": 30}, {"version": 1, "state": 99}])
def test_a_wrong_status_is_an_error(status: dict[str, int]) -> None:
    from tensorflow_serving.apis import get_model_status_pb2

    response = get_model_status_pb2.GetModelStatusResponse(model_version_status=[status])
    with pytest.raises(ServingError, match="8500"):
        send("status", grpc(response.SerializeToString()))
