"""Every row of conformance.json, which was taken from TensorFlow Serving's own code and tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.local import json_outputs
from serving.local.json_inputs import parse_predict
from serving.local.status import StatusError

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
