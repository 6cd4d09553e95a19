from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.local import grpc_service
from serving.local.batching import Batcher
from serving.local.metrics import ServerMetrics
from serving.local.models_config import config_source
from serving.local.options import MIB, RequestLimits
from serving.local.pixel_limit import PixelLimiter
from serving.local.served_models import ServedModels
from tests.serving import saved_models

VALUES = {
    "float32": [1.5, -0.0, np.inf],
    "float64": [1.1, np.nan, -2],
    "float16": [1.5, -2, 65504],
    "bfloat16": [1.5, -2, 3e38],
    "int8": [-128, 0, 127],
    "int16": [-(2**15), 0, 2**15 - 1],
    "int32": [-(2**31), 0, 2**31 - 1],
    "int64": [-(2**63), 0, 2**63 - 1],
    "uint8": [0, 1, 255],
    "uint16": [0, 1, 2**16 - 1],
    "uint32": [0, 1, 2**32 - 1],
    "uint64": [0, 1, 2**64 - 1],
    "bool": [True, False, True],
    "complex64": [1 + 2j, -1j, 0],
    "complex128": [1.1 + 2j, -1j, 0],
    "string": [b"", b"\x00\xff", "ä".encode()],
}

CONFIG = """
model_config_list {{
  config {{ name: "half" base_path: "{0}/half" model_platform: "tensorflow"
           model_version_policy {{ all {{}} }} version_labels {{ key: "stable" value: 1 }} }}
  config {{ name: "same" base_path: "{0}/same" model_platform: "tensorflow" }}
  config {{ name: "mean" base_path: "{0}/mean" model_platform: "tensorflow" }}
  config {{ name: "sum" base_path: "{0}/sum" model_platform: "tensorflow" }}
  config {{ name: "none" base_path: "{0}/none" model_platform: "tensorflow" }}
}}
"""


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    """A channel to a gRPC server on an event loop in a thread."""
    folder = tmp_path_factory.mktemp("served")
    saved_models.versioned(folder / "half", 1)
    saved_models.versioned(folder / "half", 2)
    saved_models.identity(folder / "same", {name: tf.TensorSpec([None], name) for name in VALUES})
    saved_models.image_mean(folder / "mean")
    saved_models.unbatched(folder / "sum")
    (folder / "none").mkdir()
    (folder / "models.config").write_text(CONFIG.format(folder))
    port: list[int] = []
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        limits, metrics = RequestLimits(max_body_bytes=MIB), ServerMetrics()
        served = ServedModels(config_source("", folder, folder / "models.config"))
        served.start()
        assert served.wait_until_loaded(60)
        batcher = Batcher(PixelLimiter(limits.max_pixels).run, metrics)
        server = grpc_service.create_server(batcher, served, metrics, limits)
        port.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        started.set()
        await stop.wait()
        await server.stop(1)
        batcher.close()
        served.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    assert started.wait(90)
    with grpc.insecure_channel(f"127.0.0.1:{port[0]}") as result:
        yield result
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> prediction_service_pb2_grpc.PredictionServiceStub:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict_request(
    name: str, inputs: dict[str, TensorProto | np.ndarray], **spec: object
) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(model_spec={"name": name, **spec})
    for key, value in inputs.items():
        proto = value if isinstance(value, TensorProto) else tf.make_tensor_proto(value)
        request.inputs[key].CopyFrom(proto)
    return request


def call_error(call: Callable[..., object], request: object, **options: object) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(request, **options)
    return error.value.code().name, error.value.details()


X = np.array([1, 2], np.float32)


@pytest.mark.parametrize(
    ("spec", "version"), [({}, 2), ({"version": {"value": 1}}, 1), ({"version_label": "stable"}, 1)]
)
def test_predicts_with_the_requested_version(
    stub: prediction_service_pb2_grpc.PredictionServiceStub, spec: dict[str, object], version: int
) -> None:
    response = stub.Predict(predict_request("half", {"x": X}, **spec))
    assert response.model_spec.name == "half"
    assert response.model_spec.version.value == version
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs["y"].float_val) == [1 + version, 2 + version]
    assert list(response.outputs["version"].int64_val) == [version, version]


def test_all_types_of_inputs_and_outputs(stub: prediction_service_pb2_grpc.PredictionServiceStub) -> None:
    inputs = {name: np.array(values, tf.as_dtype(name).as_numpy_dtype) for name, values in VALUES.items()}
    protos = {name: tf.make_tensor_proto(array, name) for name, array in inputs.items()}
    response = stub.Predict(predict_request("same", protos))
    assert response.outputs.keys() == inputs.keys()
    for name, array in inputs.items():
        np.testing.assert_array_equal(tf.make_ndarray(response.outputs[name]), array)


@pytest.mark.parametrize(
    ("request_", "code", "named"),
    [
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "model_spec"),
        (predict_request("", {"x": X}), "INVALID_ARGUMENT", "model_spec"),
        (predict_request("no", {"x": X}), "NOT_FOUND", "Latest(no)"),
        (predict_request("none", {"x": X}), "NOT_FOUND", "Latest(none)"),
        (predict_request("half", {"x": X}, version={"value": 9}), "NOT_FOUND", "Specific(half, 9)"),
        (predict_request("half", {"x": X}, version_label="canary"), "INVALID_ARGUMENT", "canary"),
        (predict_request("half", {"x": X}, signature_name="other"), "FAILED_PRECONDITION", "other"),
        (predict_request("half", {}), "INVALID_ARGUMENT", "{x}"),
        (
            predict_request("mean", {"image_bytes": np.array([b"not an image"], object)}),
            "INVALID_ARGUMENT",
            "Unknown image file format",
        ),
        (predict_request("n" * 2000, {}), "NOT_FOUND", "nnn"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_have_tensorflow_servings_codes(
    stub: prediction_service_pb2_grpc.PredictionServiceStub,
    request_: predict_pb2.PredictRequest,
    code: str,
    named: str,
) -> None:
    said, text = call_error(stub.Predict, request_)
    assert said == code
    assert named in text
    assert len(text) < 1100


def test_rejects_a_message_over_the_limit(
    stub: prediction_service_pb2_grpc.PredictionServiceStub,
) -> None:
    code, _ = call_error(stub.Predict, predict_request("half", {"x": np.zeros(300_000, np.float32)}))
    assert code == "RESOURCE_EXHAUSTED"
    response = stub.Predict(predict_request("half", {"x": np.zeros(200_000, np.float32)}))
    assert len(response.outputs["y"].float_val) == 200_000


def few_values(count: int) -> TensorProto:
    proto = TensorProto(dtype=1, float_val=[1])
    proto.tensor_shape.dim.add(size=count)
    return proto


@pytest.mark.parametrize(
    "inputs",
    [
        {f"z{number}": few_values(2**40) for number in range(24)},
        {"x": few_values(2**40)},
        {"x": few_values(-1)},
        {"x": TensorProto(dtype=tf.resource.as_datatype_enum)},
        {"x": TensorProto(dtype=99)},
        {"x": TensorProto(dtype=1, tensor_content=b"abc")},
        {"x": TensorProto(dtype=1, float_val=[1], tensor_shape={"dim": [{"size": 1}] * 300})},
        {"x": TensorProto(dtype=1, tensor_shape={"dim": [{"size": 4 * 10**18}, {"size": 9}]})},
        {"x": TensorProto(dtype=1, tensor_shape={"dim": [{"size": 0}, {"size": 4 * 10**18}, {"size": 9}]})},
    ],
)
def test_rejects_invalid_tensors(
    stub: prediction_service_pb2_grpc.PredictionServiceStub, inputs: dict[str, TensorProto | np.ndarray]
) -> None:
    assert call_error(stub.Predict, predict_request("half", inputs))[0] == "INVALID_ARGUMENT"
    assert stub.Predict(predict_request("half", {"x": X})).outputs


def test_repeats_the_last_value_to_fill_the_shape(
    stub: prediction_service_pb2_grpc.PredictionServiceStub,
) -> None:
    assert list(stub.Predict(predict_request("half", {"x": few_values(3)})).outputs["y"].float_val) == [3] * 3


def test_rejects_bytes_that_are_not_a_message(
    channel: grpc.Channel, stub: prediction_service_pb2_grpc.PredictionServiceStub
) -> None:
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"\xff\xff\xff")
    assert stub.Predict(predict_request("half", {"x": X})).outputs


def test_other_methods_are_unimplemented(stub: prediction_service_pb2_grpc.PredictionServiceStub) -> None:
    request = classification_pb2.ClassificationRequest(model_spec={"name": "half"})
    assert call_error(stub.Classify, request)[0] == "UNIMPLEMENTED"


def test_returns_the_signatures_as_metadata(stub: prediction_service_pb2_grpc.PredictionServiceStub) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec={"name": "half", "version_label": "stable"}, metadata_field=["signature_def"]
    )
    response = stub.GetModelMetadata(request)
    assert (response.model_spec.name, response.model_spec.version.value) == ("half", 1)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["serving_default"].inputs["x"].dtype == 1
    request.metadata_field.append("more")
    code, text = call_error(stub.GetModelMetadata, request)
    assert code == "INVALID_ARGUMENT"
    assert "more" in text
    del request.metadata_field[:]
    assert call_error(stub.GetModelMetadata, request)[0] == "INVALID_ARGUMENT"


def test_returns_the_status_of_versions(channel: grpc.Channel) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "half"})
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    response = stub.GetModelStatus(request)
    assert {(one.version, one.state) for one in response.model_version_status} == {
        (1, available),
        (2, available),
    }
    request.model_spec.version.value = 9
    assert call_error(stub.GetModelStatus, request)[0] == "NOT_FOUND"
    request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "no"})
    assert call_error(stub.GetModelStatus, request)[0] == "NOT_FOUND"
