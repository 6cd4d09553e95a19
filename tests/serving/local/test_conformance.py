"""Every row of conformance.json, which was taken from TensorFlow Serving's own code and tests."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.local import json_outputs
from serving.local.json_inputs import parse_predict
from serving.local.status import StatusError
from tests.serving import models
from tests.serving.local.rest_server import Answer, RestServer, rest_server

Row = dict[str, Any]

ROWS: list[Row] = json.loads(Path(__file__).with_name("conformance.json").read_text())
DTYPES = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_INT8": np.int8,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_UINT64": np.uint64,
    "DT_BOOL": np.bool_,
    "DT_STRING": object,
}
FLOATS = ("DT_FLOAT", "DT_DOUBLE")


def rows(kind: str) -> list[Any]:
    return [pytest.param(row, id=row["id"]) for row in ROWS if kind_of(row) == kind]


def kind_of(row: Row) -> str:
    return "input" if "signature" in row else "output" if "format" in row else "served"


def tensor(value: Row) -> np.ndarray:
    """Returns a tensor of the table: strings as text or {"b64": …}, and NaN and Infinity by name."""
    if value["dtype"] == "DT_STRING":
        array = np.empty(len(value["values"]), object)
        array[:] = [
            base64.b64decode(v["b64"]) if isinstance(v, dict) else v.encode() for v in value["values"]
        ]
    elif value["dtype"] in FLOATS:
        array = np.array([float(v) for v in value["values"]], DTYPES[value["dtype"]])
    else:  # 300 is given for an int8: TensorFlow's conversion wraps it
        array = np.array(value["values"]).astype(DTYPES[value["dtype"]])
    return array.reshape(value["shape"])


def signature_inputs(row: Row) -> Mapping[str, TensorInfo]:
    infos = {}
    for name, spec in row["signature"].items():
        infos[name] = TensorInfo(dtype=types_pb2.DataType.Value(spec["dtype"]))
        for size in spec["shape"]:
            infos[name].tensor_shape.dim.add(size=size)
    return infos


def test_every_row_is_tested() -> None:
    assert len(ROWS) == 91
    assert len(rows("input")) + len(rows("output")) + len(rows("served")) == 91


@pytest.mark.parametrize("row", rows("input"))
def test_request(row: Row) -> None:
    asked = []

    def inputs(signature_name: str) -> Mapping[str, TensorInfo]:
        asked.append(signature_name)
        return signature_inputs(row)

    if row["expect_status"] != 200:
        with pytest.raises(StatusError) as caught:
            parse_predict(row["request"].encode(), inputs)
        assert caught.value.http_status == row["expect_status"]
        assert row["expect_error_contains"] in caught.value.message
        assert caught.value.message == row.get("observed_error", caught.value.message)
        return
    request = parse_predict(row["request"].encode(), inputs)
    assert (
        asked
        == [request.signature_name]
        == [json.loads(row["request"].lstrip("\ufeff")).get("signature_name", "")]
    )
    assert request.is_row == (row["format"] == "row")
    assert request.inputs.keys() == row["expect_inputs"].keys()
    for name, value in row["expect_inputs"].items():
        expected = tensor(value)
        assert request.inputs[name].dtype == expected.dtype
        np.testing.assert_array_equal(request.inputs[name], expected)


def body_of(row: Row) -> bytes:
    tensors = {name: tensor(value) for name, value in row["tensors"].items()}
    match row["format"]:
        case "error":
            return json_outputs.error_body(row["message"])
        case "regress":
            return json_outputs.regress_body(tensors["outputs"])
        case "classify":
            assert not tensors
            return json_outputs.classify_body([])
    return json_outputs.predict_body(tensors, is_row=row["format"] == "row")


@pytest.mark.parametrize("row", rows("output"))
def test_answer(row: Row) -> None:
    if row.get("expect_status", 200) != 200:
        with pytest.raises(StatusError) as caught:
            body_of(row)
        assert caught.value.http_status == row["expect_status"]
        assert row["expect_error_contains"] in caught.value.message
        assert caught.value.message == row.get("observed_error", caught.value.message)
        return
    body = body_of(row)
    expected = base64.b64decode(row["json_b64"]) if "json_b64" in row else row["json"].encode()
    if row["compare"] == "bytes":
        assert body == expected
    else:
        assert json.loads(body) == json.loads(expected)


def model_of(row: Row) -> str:
    """Returns the name of the model whose signature the row asks for."""
    inputs = ((name, spec["dtype"]) for name, spec in row["signature"].items())
    return "-".join(f"{name}.{dtype}" for name, dtype in inputs) or "without_inputs"


def echo_model(folder: Path, row: Row) -> None:
    """Exports a model that gives each input of a row's signature back, of whatever shape."""
    kinds = {name: tf.as_dtype(types_pb2.DataType.Value(s["dtype"])) for name, s in row["signature"].items()}

    @tf.function(input_signature=[tf.TensorSpec(None, kind, name=name) for name, kind in kinds.items()])
    def serve(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        given = {name: tf.identity(value) for name, value in zip(kinds, values, strict=True)}
        return given or {"y": tf.constant([1.0])}

    signatures = {"serving_default": serve, "classify_pixels": serve}
    tf.saved_model.save(tf.Module(), str(folder / "1"), signatures=signatures)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    """Serves half_plus_two as `m`, and a model for each signature of the table."""
    root = tmp_path_factory.mktemp("models")
    models.half_plus_two(root / "m", version=123)
    models.image_mean(root / "image")
    models.dense(root / "dense")
    echoed = {model_of(row): row for row in ROWS if "signature" in row}
    for name, row in echoed.items():
        echo_model(root / name, row)
    config = root / "models.config"
    named = ["m", "image", "dense", *echoed]
    with rest_server(
        {name: root / name for name in named}, labels={"m": {"stable": 123}}, config=config
    ) as running:
        yield running


@pytest.mark.parametrize("row", rows("input"))
def test_request_through_the_server(row: Row, server: RestServer) -> None:
    answer = server.ask("POST", f"/v1/models/{model_of(row)}:predict", row["request"])
    assert (answer.status, answer.headers["Content-Type"]) == (row["expect_status"], "application/json")
    if row["expect_status"] != 200:
        assert row["expect_error_contains"] in json.loads(answer.body)["error"]
        assert answer.body == json_outputs.error_body(json.loads(answer.body)["error"])
        return
    tensors = {name: tensor(value) for name, value in row["expect_inputs"].items()}
    expected = json_outputs.predict_body(tensors, is_row=row["format"] == "row")
    assert json.loads(answer.body) == json.loads(expected)
    if len(tensors) == 1:
        assert answer.body == expected


def check_metadata(answer: Answer, server: RestServer) -> None:
    document = json.loads(answer.body)
    assert document["model_spec"] == {"name": "m", "signature_name": "", "version": "123"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    sizes = [dim["size"] for dim in signature["inputs"]["x"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "1"]


def check_status(answer: Answer, server: RestServer) -> None:
    [version] = json.loads(answer.body)["model_version_status"]
    assert version == {
        "version": "123",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }


def check_metrics_query(answer: Answer, server: RestServer) -> None:
    path = "/monitoring/prometheus/metrics"
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.body.decode() == f"Unexpected path: {path}?a=1. Should be {path}"


def check_no_origin(answer: Answer, server: RestServer) -> None:
    assert answer.body == b""
    permitted = server.ask("OPTIONS", "/v1/models/m:predict", headers={"Origin": "https://example.org"})
    assert (permitted.status, permitted.body) == (200, b"")
    assert not any(name.startswith("Access-Control") for name in permitted.headers)


def check_outside(answer: Answer, server: RestServer) -> None:
    assert answer.headers["Content-Type"] == "text/html"
    assert answer.body == (
        b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
    )


def check_no_405(answer: Answer, server: RestServer) -> None:
    for method in ("PUT", "DELETE", "PATCH", "HEAD"):
        other = server.ask(method, "/v1/models/m:predict", "{}")
        assert other.status == 400
        wanted = f"Malformed request: {method} /v1/models/m:predict"
        assert other.body == (b"" if method == "HEAD" else json_outputs.error_body(wanted))


def check_gzip_claim(answer: Answer, server: RestServer) -> None:
    """100 MiB and one byte are claimed: not even looked at."""
    body = gzip.compress(b'{"instances": [[1.0]]}')[:-4] + (100 * 2**20 + 1).to_bytes(4, "little")
    claimed = server.ask("POST", "/v1/models/m:predict", body, {"Content-Encoding": "gzip"})
    assert (claimed.status, claimed.body) == (400, answer.body)


def check_not_compressed(answer: Answer, server: RestServer) -> None:
    assert "Content-Encoding" not in answer.headers


def check_no_list(answer: Answer, server: RestServer) -> None:
    assert json.loads(server.ask("GET", "/v1/models/").body) == {
        "error": "Malformed request: GET /v1/models/"
    }


def check_node(answer: Answer, server: RestServer) -> None:
    assert "{{node " in json.loads(answer.body)["error"]


def check_decoder(answer: Answer, server: RestServer) -> None:
    assert "JPEG" in json.loads(answer.body)["error"]


# What a row's note, or its status alone, leaves to say.
FURTHER = {
    "http.metadata": check_metadata,
    "http.path_case_insensitive": check_status,
    "http.metrics_query": check_metrics_query,
    "http.options_no_origin": check_no_origin,
    "http.outside_v1": check_outside,
    "http.put": check_no_405,
    "http.gzip_corrupt": check_gzip_claim,
    "http.gzip_request": check_not_compressed,
    "http.no_model_name": check_no_list,
    "runtime.wrong_width": check_node,
    "runtime.undecodable_image": check_decoder,
}


def test_every_note_of_a_served_row_is_tested() -> None:
    told = {row["id"] for row in ROWS if kind_of(row) == "served"}
    assert {row["id"] for row in ROWS if row["id"] in told and "note" in row} <= FURTHER.keys() <= told
    assert {
        row["id"]
        for row in ROWS
        if row["id"] in told and not {"expect_json", "expect_error_contains"} & row.keys()
    } <= FURTHER.keys()


@pytest.mark.parametrize("row", rows("served"))
def test_call(row: Row, server: RestServer) -> None:
    model = {"runtime.undecodable_image": "image", "runtime.wrong_width": "dense"}.get(row["id"], "m")
    headers = row.get("headers", {})
    body = row["request"].encode()
    if headers.get("Content-Encoding") == "gzip" and row["expect_status"] == 200:
        body = gzip.compress(body)
    answer = server.ask(row["method"], row["path"].replace("/models/m:", f"/models/{model}:"), body, headers)
    assert answer.status == row["expect_status"]
    if "expect_json" in row:
        assert json.loads(answer.body) == row["expect_json"]
    if "expect_error_contains" in row:
        assert row["expect_error_contains"] in json.loads(answer.body)["error"]
        assert answer.headers["Content-Type"] == "application/json"
    if row["id"] in FURTHER:
        FURTHER[row["id"]](answer, server)
