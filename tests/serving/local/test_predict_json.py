from __future__ import annotations

import base64
import json
import time
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from serving.local.predict_json import PredictRequest, format_response, load_document, parse_request
from serving.local.status import StatusError

INTEGERS = {
    "DT_INT8": (np.int8, -(2**31), 2**31 - 1),
    "DT_INT16": (np.int16, -(2**31), 2**31 - 1),
    "DT_UINT8": (np.uint8, -(2**31), 2**31 - 1),
    "DT_INT32": (np.int32, -(2**31), 2**31 - 1),
    "DT_INT64": (np.int64, -(2**63), 2**63 - 1),
    "DT_UINT32": (np.uint32, 0, 2**32 - 1),
    "DT_UINT64": (np.uint64, 0, 2**64 - 1),
}


def read(body: Any, **kinds: str) -> PredictRequest:
    infos = {name: TensorInfo(dtype=types_pb2.DataType.Value(kind)) for name, kind in kinds.items()}
    document = load_document(body if isinstance(body, bytes) else json.dumps(body).encode())
    return parse_request(document, {"serving_default": SignatureDef(inputs=infos)})


def rows(instances: Any, **kinds: str) -> dict[str, np.ndarray]:
    return read({"instances": instances}, **kinds).inputs


def columns(inputs: Any, **kinds: str) -> dict[str, np.ndarray]:
    return read({"inputs": inputs}, **kinds).inputs


def error_message(body: Any, status: int = 400, **kinds: str) -> str:
    with pytest.raises(StatusError) as caught:
        read(body, **kinds)
    assert caught.value.http_status == status
    return caught.value.message


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers(kind: str) -> None:
    dtype, low, high = INTEGERS[kind]
    array = rows([low, 0, high], x=kind)["x"]
    assert array.dtype == dtype
    wide = np.array([low, 0, high], np.int64 if low else np.uint64)
    np.testing.assert_array_equal(array, wide.astype(dtype))
    for value in (low - 1, high + 1, 1.0, True, None, "1", {"b64": "Y2F0"}):
        assert kind[3:].lower() in error_message({"instances": [0, value]}, x=kind)


@pytest.mark.parametrize(("kind", "dtype"), [("DT_FLOAT", np.float32), ("DT_DOUBLE", np.float64)])
def test_floats(kind: str, dtype: type) -> None:
    values = [1, -2.5, 2**64 - 1, 2**64, 1e300, float("nan"), float("-inf")]
    array = rows(values, x=kind)["x"]
    assert array.dtype == dtype
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(array, np.array([float(value) for value in values]).astype(dtype))
    for value in (True, None, "1", {"b64": "Y2F0"}, {"a": 1}, 10**400):
        assert error_message({"instances": [0, value]}, x=kind)


def test_booleans_and_strings() -> None:
    assert rows([[True], [False]], x="DT_BOOL")["x"].tolist() == [[True], [False]]
    strings = rows([["a", {"b64": "/9g"}], ["é\0", ""]], x="DT_STRING")["x"]
    assert strings.tolist() == [[b"a", b"\xff\xd8"], ["é\0".encode(), b""]]
    wrong: Any
    for wrong in (1, None, False, {"b64": 1}, {"B64": "Y2F0"}, {"b64": "Y2F0", "c": 1}, {}, "\ud800"):
        assert error_message({"inputs": {"x": ["a", wrong]}}, x="DT_STRING")
    assert error_message({"instances": [1]}, x="DT_BOOL")


@pytest.mark.parametrize(
    ("text", "decoded"),
    [("", b""), ("Y2E=", b"ca"), ("Y2E", b"ca"), (" Y2 F0\n\t", b"cat"), ("/+8=", b"\xff\xef")],
)
def test_accepts_base64_with_spaces_or_without_padding(text: str, decoded: bytes) -> None:
    assert rows([{"b64": text}], x="DT_STRING")["x"].tolist() == [decoded]


@pytest.mark.parametrize("text", ["Y", "Y2E==", "=", "Y2=F", "Y2_-", "Y2F0!", "é"])
def test_rejects_invalid_base64(text: str) -> None:
    assert "base64" in error_message({"instances": [{"b64": text}]}, x="DT_STRING")


@pytest.mark.parametrize("kind", ["DT_HALF", "DT_BFLOAT16", "DT_UINT16", "DT_COMPLEX64", "DT_QINT8"])
def test_rejects_types_that_json_cannot_represent(kind: str) -> None:
    dtype = tf.as_dtype(types_pb2.DataType.Value(kind))
    assert dtype.name in error_message({"inputs": {"x": [1]}}, status=501, x=kind)
    assert dtype.name in error_message({"instances": [1]}, x=kind)
    for array, shape in ((columns([], x=kind)["x"], (0,)), (rows([[], []], x=kind)["x"], (2, 0))):
        assert (array.dtype, array.shape) == (dtype.as_numpy_dtype, shape)


@pytest.mark.parametrize(
    ("value", "shape"),
    [(1, []), ([], [0]), ([[], []], [2, 0]), ([[[1]], [[2]]], [2, 1, 1]), ([[[], []]], [1, 2, 0])],
)
def test_shapes(value: Any, shape: list[int]) -> None:
    assert list(columns(value, x="DT_FLOAT")["x"].shape) == shape
    assert list(columns({"x": value}, x="DT_FLOAT")["x"].shape) == shape
    assert list(rows([value, value], x="DT_FLOAT")["x"].shape) == [2, *shape]
    named = rows([{"x": value, "y": 1}] * 3, x="DT_FLOAT", y="DT_INT32")
    assert list(named["x"].shape) == [3, *shape]
    assert named["y"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("instances", "position"),
    [
        ([[[]], [[1]]], 1),
        ([[], 1], 1),
        ([[1, 2], [[1, 2]]], 1),
        ([[1, [2]], [1, 2]], 0),
        ([[1, 2]] * 700 + [[1]] + [[1, 2]] * 50 + [["a", 2]], 700),
        ([1.5] * 3 + [None], 3),
        ([1.5] * 8 + [{"x": 1}], 8),
    ],
)
def test_names_the_first_invalid_row(instances: Any, position: int) -> None:
    assert f"Row {position} " in error_message({"instances": instances}, x="DT_FLOAT")


@pytest.mark.parametrize(
    ("instances", "named"),
    [
        ([{"a": 1}, {"a": 1, "b": 2}], "Row 0 "),
        ([{"a": 1, "b": 2}, {"a": 1, "c": 2}], "Row 1 "),
        ([{"a": 1, "b": 2}, 5], "Row 1 "),
        ([{"b64": "Y2F0"}, {"a": 1, "b": 2}], "Row 1 "),
        ([{"a": 1, "b": 2}, {"a": 1, "b": "x"}], "Row 1 of 'instances', input b"),
        ([1, 2], "a, b"),
    ],
)
def test_rejects_rows_with_other_inputs(instances: Any, named: str) -> None:
    assert named in error_message({"instances": instances}, a="DT_INT32", b="DT_INT32")


def test_the_first_of_two_members_with_the_same_name_counts() -> None:
    assert read(b'{"inputs": {"x": 1, "x": 2}}', x="DT_INT32").inputs["x"].tolist() == 1
    assert read(b'{"instances": [1], "instances": [2]}', x="DT_INT32").inputs["x"].tolist() == [1]


def test_rejects_a_signature_name_that_is_not_a_string() -> None:
    with pytest.raises(StatusError) as caught:
        load_document(b'{"signature_name": 1}')
    assert caught.value.http_status == 400
    assert "other" in error_message({"signature_name": "other", "instances": [1]})


@pytest.mark.parametrize(
    "body",
    [
        {"instances": 1},
        {"instances": {}},
        {"instances": []},
        {"inputs": None, "instances": None},
        {},
        {"inputs": {}},
        [],
        b"",
        b" \n",
        b"{",
        b'{"instances": [1,]}',
        b"\xff\xfe{}",
        b'{"instances": [' + b"9" * 5000 + b"]}",
        b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
    ],
    ids=lambda body: str(body)[:20],
)
def test_rejects_documents_without_a_request(body: Any) -> None:
    assert error_message(body, x="DT_FLOAT")


def test_ignores_a_byte_order_mark_and_trailing_bytes() -> None:
    assert read(b'\xef\xbb\xbf {"instances": [1]} and more', x="DT_INT32").inputs["x"].tolist() == [1]


@pytest.mark.parametrize(
    "value",
    [
        "[" * 63 + "1," * 250_000 + '"x"' + "]" * 63,
        "[" * 60 + "[1]," * 120_000 + '["x"]' + "]" * 60,
        ("[" * 60 + "1" + "]" * 60 + ",") * 4000 + "[" * 60 + "1," * 250_000 + '"x"' + "]" * 60,
        "[1]," * 120_000 + "[[1]]",
    ],
    ids=lambda value: value[:8] + value[-8:],
)
def test_rejects_large_documents_quickly(value: str) -> None:
    started = time.process_time()
    error_message(f'{{"instances": [{value}]}}'.encode(), x="DT_FLOAT")
    assert time.process_time() - started < 2.5


def test_tensors_have_at_most_64_dimensions() -> None:
    deepest = "[" * 64 + "1" + "]" * 64
    assert read(f'{{"inputs": {deepest}}}'.encode(), x="DT_FLOAT").inputs["x"].ndim == 64
    for body in (f'{{"inputs": [{deepest}]}}', f'{{"instances": [{deepest}]}}'):
        assert "64" in error_message(body.encode(), x="DT_FLOAT")


def test_writes_float32_with_the_fewest_digits() -> None:
    values = np.array([0.1, 1 / 3, 16777216, 1e-7, 3.4e38, -0.0], np.float32)
    written = json.loads(format_response({"y": values}, is_row=True))["predictions"]
    assert written == [0.1, 0.333333343, 16777216.0, 1e-07, 3.4e38, 0.0]
    many = np.random.default_rng(1).normal(size=10_000).astype(np.float32)
    np.testing.assert_array_equal(
        np.array(json.loads(format_response({"y": many}, True))["predictions"], "f"), many
    )


def test_formats_several_outputs_by_row_and_by_column() -> None:
    outputs = {
        "scores": np.array([[0.5, np.nan], [np.inf, 1]]),
        "raw_bytes": np.array([b"\xff", b""], object),
        "label": np.array(['é"\n'.encode(), b"\xff"], object),
        "number": np.array([2**64 - 1, 0], np.uint64),
    }
    body = format_response(outputs, is_row=True)
    first, second = json.loads(body.decode("utf-8", "surrogateescape"))["predictions"]
    assert first["scores"][0] == 0.5
    assert np.isnan(first["scores"][1])
    assert first["raw_bytes"] == {"b64": base64.b64encode(b"\xff").decode()}
    assert (first["label"], first["number"]) == ('é"\n', 2**64 - 1)
    assert second["label"].encode("utf-8", "surrogateescape") == b"\xff"
    by_column = json.loads(format_response(outputs, is_row=False).decode("utf-8", "surrogateescape"))[
        "outputs"
    ]
    assert by_column["number"] == [2**64 - 1, 0]
    assert by_column["raw_bytes"] == [first["raw_bytes"], second["raw_bytes"]]


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"y": np.array(1)},
        {"y": np.ones(2), "z": np.ones(3)},
        {"y": np.ones(2), "z": np.array(1)},
        {"y": np.ones(2, np.complex64)},
        {"y": np.ones(2, np.float16)},
    ],
)
def test_rejects_outputs_without_rows_or_json_type(outputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(StatusError) as caught:
        format_response(outputs, is_row=True)
    assert caught.value.http_status == 400
