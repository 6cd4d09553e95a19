"""Runs the rows of conformance.json, which come from TensorFlow Serving's code and tests.

The local server follows the protocol, not the exact bytes: tests compare the status, the shape and the values
of a response, and whether it has an `error`.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from serving.local.predict_json import format_response
from serving.local.status import StatusError
from tests.serving import saved_models
from tests.serving.local.rest_server import RestServer, rest_server

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
# Bodies of classify and regress, which are 501 here, and the exact text of an error's body.
EXEMPT = {"out.classify_empty", "out.regress_nonfinite", "out.error_body"}


def rows(kind: str) -> list[Any]:
    return [
        pytest.param(row, id=row["id"]) for row in ROWS if kind_of(row) == kind and row["id"] not in EXEMPT
    ]


def kind_of(row: Row) -> str:
    return "input" if "signature" in row else "output" if "format" in row else "served"


def tensor(value: Row) -> np.ndarray:
    """Converts a tensor of the table: strings as text or {"b64": …}, and NaN and Infinity by name."""
    if value["dtype"] == "DT_STRING":
        array = np.empty(len(value["values"]), object)
        array[:] = [
            base64.b64decode(v["b64"]) if isinstance(v, dict) else v.encode() for v in value["values"]
        ]
    elif value["dtype"] in FLOATS:
        array = np.array([float(v) for v in value["values"]], DTYPES[value["dtype"]])
    else:  # 300 for an int8: TensorFlow's conversion wraps it
        array = np.array(value["values"]).astype(DTYPES[value["dtype"]])
    return array.reshape(value["shape"])


def test_every_row_is_tested_or_exempt() -> None:
    assert len(ROWS) == 91
    tested = [*rows("input"), *rows("output"), *rows("served")]
    assert len(tested) + len(EXEMPT) == 91
    assert {row["id"] for row in ROWS} > EXEMPT


def parsed(body: bytes) -> Any:
    """Parses a body for comparison; keeps bytes that are not UTF-8, and makes NaN equal NaN."""
    return json.loads(body.decode("utf-8", "surrogateescape"), parse_constant=str)


@pytest.mark.parametrize("row", rows("output"))
def test_response(row: Row) -> None:
    tensors = {name: tensor(value) for name, value in row["tensors"].items()}
    is_row = row["format"] == "row"
    if row.get("expect_status", 200) != 200:
        with pytest.raises(StatusError) as caught:
            format_response(tensors, is_row)
        assert caught.value.http_status == row["expect_status"]
        return
    expected = base64.b64decode(row["json_b64"]) if "json_b64" in row else row["json"].encode()
    assert parsed(format_response(tensors, is_row)) == parsed(expected)


def model_of(row: Row) -> str:
    """Returns the name of the model with the row's signature."""
    inputs = ((name, spec["dtype"]) for name, spec in row["signature"].items())
    return "-".join(f"{name}.{dtype}" for name, dtype in inputs) or "without_inputs"


def echo_model(folder: Path, row: Row) -> None:
    """Exports a model that returns each input of a row's signature, of any shape."""
    kinds = {name: tf.as_dtype(types_pb2.DataType.Value(s["dtype"])) for name, s in row["signature"].items()}

    @tf.function(input_signature=[tf.TensorSpec(None, kind, name=name) for name, kind in kinds.items()])
    def serve(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        given = {name: tf.identity(value) for name, value in zip(kinds, values, strict=True)}
        return given or {"y": tf.constant([1.0])}

    signatures = {"serving_default": serve, "classify_pixels": serve}
    tf.saved_model.save(tf.Module(), str(folder / "1"), signatures=signatures)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    """Serves half_plus_two as `m`, and one model per signature of the table."""
    root = tmp_path_factory.mktemp("models")
    saved_models.half_plus_two(root / "m", version=123)
    saved_models.image_mean(root / "image")
    saved_models.dense(root / "dense")
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
    response = server.request("POST", f"/v1/models/{model_of(row)}:predict", row["request"])
    assert (response.status, response.headers["Content-Type"].partition(";")[0]) == (
        row["expect_status"],
        "application/json",
    )
    if row["expect_status"] != 200:
        assert parsed(response.body)["error"]
        return
    tensors = {name: tensor(value) for name, value in row["expect_inputs"].items()}
    assert parsed(response.body) == parsed(format_response(tensors, is_row=row["format"] == "row"))


@pytest.mark.parametrize("row", rows("served"))
def test_call(row: Row, server: RestServer) -> None:
    model = {"runtime.undecodable_image": "image", "runtime.wrong_width": "dense"}.get(row["id"], "m")
    headers = row.get("headers", {})
    body = row["request"].encode()
    if headers.get("Content-Encoding") == "gzip" and row["expect_status"] == 200:
        body = gzip.compress(body)
    response = server.request(
        row["method"], row["path"].replace("/models/m:", f"/models/{model}:"), body, headers
    )
    assert response.status == row["expect_status"]
    assert "Content-Encoding" not in response.headers
    if response.status != 200:
        assert parsed(response.body)["error"]
    if "expect_json" in row:
        assert parsed(response.body) == row["expect_json"]


def test_metadata_and_status(server: RestServer) -> None:
    document = json.loads(server.request("GET", "/v1/models/m/metadata").body)
    assert document["model_spec"] == {"name": "m", "signature_name": "", "version": "123"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    sizes = [dim["size"] for dim in signature["inputs"]["x"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "1"]
    [version] = json.loads(server.request("GET", "/V1/Models/m").body)["model_version_status"]
    assert version == {
        "version": "123",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_classify_and_regress_are_not_implemented(server: RestServer, method: str) -> None:
    response = server.request("POST", f"/v1/models/m:{method}", '{"examples": [{}]}')
    assert response.status == 501
    assert method in parsed(response.body)["error"]
