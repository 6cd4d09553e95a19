from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.local import json_tensor
from serving.local.json_examples import parse_examples
from serving.local.json_inputs import PredictRequest, parse_predict
from serving.local.status import StatusError, not_found

FLOATS = {"DT_FLOAT": np.float32, "DT_DOUBLE": np.float64}
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
    return parse_predict(body if isinstance(body, bytes) else json.dumps(body).encode(), lambda _: infos)


def rows(instances: Any, **kinds: str) -> dict[str, np.ndarray]:
    return read({"instances": instances}, **kinds).inputs


def columns(inputs: Any, **kinds: str) -> dict[str, np.ndarray]:
    return read({"inputs": inputs}, **kinds).inputs


def refusal(body: Any, **kinds: str) -> str:
    with pytest.raises(StatusError) as caught:
        read(body, **kinds)
    assert caught.value.http_status == 400
    return caught.value.message


def unimplemented(body: Any, **kinds: str) -> str:
    with pytest.raises(StatusError) as caught:
        read(body, **kinds)
    assert caught.value.http_status == 501
    return caught.value.message


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers(kind: str) -> None:
    dtype, low, high = INTEGERS[kind]
    array = rows([low, 0, high], x=kind)["x"]
    assert array.dtype == dtype
    wide = np.array([low, 0, high], np.int64 if low else np.uint64)
    np.testing.assert_array_equal(array, wide.astype(dtype))
    for value in (low - 1, high + 1, 1.0, True, None, "1", {"b64": "Y2F0"}):
        assert f"is not of expected type: {kind[3:].lower()}" in refusal({"instances": [0, value]}, x=kind)


@pytest.mark.parametrize("kind", FLOATS)
def test_floats(kind: str) -> None:
    array = rows([1, -2.5, 2**64 - 1, 2**64, 1e300], x=kind)["x"]
    assert array.dtype == FLOATS[kind]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(
            array, np.array([1, -2.5, 2.0**64, 2.0**64, 1e300]).astype(FLOATS[kind])
        )
    for value in (True, None, "1", {"b64": "Y2F0"}, {"a": 1}):
        assert refusal({"instances": [0, value]}, x=kind)


def test_integer_for_a_float_is_rounded_by_way_of_a_double() -> None:
    """So that 2**60 + 2**36 + 1 is what it is when spelt with a decimal point: one rounding differs."""
    number = 2**60 + 2**36 + 1
    [spelt] = read(f'{{"instances": [{number}.0]}}'.encode(), x="DT_FLOAT").inputs["x"]
    assert rows([number], x="DT_FLOAT")["x"].tolist() == [spelt]


def test_booleans_and_strings() -> None:
    assert rows([[True], [False]], x="DT_BOOL")["x"].tolist() == [[True], [False]]
    strings = rows([["a", {"b64": "/9g"}], ["é\0", ""]], x="DT_STRING")["x"]
    assert strings.tolist() == [[b"a", b"\xff\xd8"], ["é\0".encode(), b""]]
    wrong: Any
    for wrong in (1, None, False):
        assert "is not of expected type: string" in refusal({"instances": ["a", wrong]}, x="DT_STRING")
    assert "is not of expected type: bool" in refusal({"instances": [1]}, x="DT_BOOL")
    for wrong in ({"b64": 1}, {"B64": "Y2F0"}, {"b64": "Y2F0", "c": 1}, {}):
        message = refusal({"inputs": {"x": ["a", wrong]}}, x="DT_STRING")
        assert message.endswith(" not formatted correctly for base64 data")


@pytest.mark.parametrize("kind", ["DT_HALF", "DT_BFLOAT16", "DT_UINT16", "DT_COMPLEX64", "DT_QINT8"])
def test_unsupported_types(kind: str) -> None:
    with pytest.raises(StatusError) as caught:
        columns({"x": [1]}, x=kind)
    assert (caught.value.http_status, caught.value.message) == (
        501,
        f"Conversion of JSON Value: 1 to type: {kind[3:].lower()}",
    )


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
    ("instances", "error"),
    [
        ([[[]], [[1]]], "Expecting tensor size: 0 but got: 1"),
        ([[], 1], "Expecting tensor size: 0 but got: 1"),
        ([[1, 2], [[1, 2]]], "Expecting shape [2] but got: [1,2]"),
        ([1, [1]], "Expecting shape [] but got: [1]"),
        ([[], [[]]], "Expecting shape [0] but got: [1,0]"),
    ],
)
def test_items_differ(instances: Any, error: str) -> None:
    prefix = "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
    assert refusal({"instances": instances}, x="DT_FLOAT") == prefix + error


@pytest.mark.parametrize(
    ("instances", "error"),
    [
        (
            [{"a": 1}, {"a": 1, "b": 2}],
            "Failed to process element: 0 of 'instances' list. "
            'JSON object: {\n    "a": 1\n} keys must be equal to: a,b',
        ),
        (
            [{"a": 1, "b": 2}, {"a": 1, "c": 2}],
            "Failed to process element: 1 key: c of 'instances' list. Error: "
            "INVALID_ARGUMENT: JSON object: does not have named input: c",
        ),
        (
            [1, 2],
            "instances is a plain list, but expecting list of objects as multiple input tensors required as "
            "per tensorinfo_map",
        ),
        ([{"a": 1, "b": 2}, 5], "Expecting object but got list at item 1 of input list"),
        ([{"b64": "Y2F0"}, {"a": 1, "b": 2}], None),
    ],
)
def test_named_rows_that_do_not_fit(instances: Any, error: str | None) -> None:
    message = refusal({"instances": instances}, a="DT_INT32", b="DT_INT32")
    assert message == (error or message)


def test_plain_and_named_rows_do_not_mix() -> None:
    message = refusal({"instances": [1, {"x": 1}]}, x="DT_INT32")
    assert message == "Expecting value/list but got object at item 1 of input list"


def test_member_given_twice() -> None:
    """`inputs` takes the first; in a row TensorFlow Serving appends both, and cuts what exceeds the shape."""
    assert read(b'{"inputs": {"x": 1, "x": 2}}', x="DT_INT32").inputs["x"].tolist() == 1
    assert read(b'{"instances": [1], "instances": [2]}', x="DT_INT32").inputs["x"].tolist() == [1]
    assert read(b'{"instances": [{"x": 1, "x": 2}, {"x": 3}]}', x="DT_INT32").inputs["x"].tolist() == [1, 2]
    assert "Expecting tensor size" in refusal(b'{"instances": [{"x": 1, "x": [2, 3]}]}', x="DT_INT32")


def test_signature_is_asked_for_once_the_document_is_read() -> None:
    def missing(_: str) -> Mapping[str, TensorInfo]:
        raise not_found("no such model")

    for body, status in ((b"{", 400), (b'{"signature_name": 1}', 400), (b"{}", 404)):
        with pytest.raises(StatusError) as caught:
            parse_predict(body, missing)
        assert caught.value.http_status == status
    assert refusal({"signature_name": "s", "instances": [1]}) == "Failed to get input map for signature: s"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"instances": 1}, "Expecting 'instances' to be an list/array"),
        ({"instances": {}}, "Expecting 'instances' to be an list/array"),
        ({"inputs": None, "instances": None}, "expecting only one of 'inputs' or 'instances' keys to exist "),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": {}}, "Missing named input: x in 'inputs' object."),
    ],
)
def test_documents_that_ask_for_nothing(body: Any, error: str) -> None:
    assert refusal(body, x="DT_INT32").endswith(error)


def test_many_rows_are_read_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the blocks, tensors and first errors are the same."""
    good = [{"a": [i, i + 0.5], "b": {"b64": "Y2F0"}} for i in range(10)]
    bad = [
        [*good, {"a": [1, 2], "b": 5}],
        [*good[:5], {"a": [1, 2, 3], "b": "x"}, *good],
        [*good, {"a": [1, 2]}],
        [*good, 7],
    ]
    kinds = {"a": "DT_FLOAT", "b": "DT_STRING"}
    whole = rows(good, **kinds)
    errors = [refusal({"instances": instances}, **kinds) for instances in bad]
    column = refusal({"inputs": [[1, 2]] * 9 + [[1, "a"]]}, x="DT_FLOAT")
    for block in (1, 2, 3):
        monkeypatch.setattr("serving.local.json_inputs.BLOCK", block)
        monkeypatch.setattr(json_tensor, "BLOCK", block)
        pieces = rows(good, **kinds)
        for name, array in whole.items():
            np.testing.assert_array_equal(pieces[name], array)
        assert [refusal({"instances": instances}, **kinds) for instances in bad] == errors
        assert refusal({"inputs": [[1, 2]] * 9 + [[1, "a"]]}, x="DT_FLOAT") == column
    assert "element: 10 key: b " in errors[0]
    assert "element: 5 key: a " in errors[1]


@pytest.mark.parametrize(
    "value",
    [
        "[" * 900 + "1," * 50_000 + '"x"' + "]" * 900,
        "[" * 63 + "1," * 250_000 + '"x"' + "]" * 63,
        "[" * 60 + "[1]," * 120_000 + '["x"]' + "]" * 60,
        "[[" * 30 + "[1,1]," * 80_000 + "[1]" + "]]" * 30,
        ("[" * 60 + "1" + "]" * 60 + ",") * 4000 + "[" * 60 + "1," * 250_000 + '"x"' + "]" * 60,
        "[" + "[1]," * 120_000 + "[[1]]]",
    ],
    ids=lambda value: value[:8] + value[-8:],
)
@pytest.mark.parametrize("body", ['{"inputs": [%s]}', '{"instances": [%s]}', '{"instances": [{"x": [%s]}]}'])
def test_deep_lists_are_refused_in_one_pass(body: str, value: str) -> None:
    """Half a megabyte each, which takes milliseconds to look at once and many seconds once a level."""
    started = time.process_time()
    refusal((body % value).encode(), x="DT_FLOAT")
    assert time.process_time() - started < 2.5


def test_tensors_have_at_most_64_dimensions() -> None:
    deepest = "[" * 64 + "1" + "]" * 64
    assert read(f'{{"inputs": {deepest}}}'.encode(), x="DT_FLOAT").inputs["x"].ndim == 64
    for body in (f'{{"inputs": [{deepest}]}}', f'{{"instances": [{deepest}]}}'):
        assert refusal(body.encode(), x="DT_FLOAT") == "tensor parsing error: x"


@pytest.mark.parametrize("kind", ["DT_HALF", "DT_BFLOAT16", "DT_UINT16", "DT_COMPLEX64", "DT_COMPLEX128"])
def test_empty_tensors_of_types_without_json(kind: str) -> None:
    dtype = tf.as_dtype(types_pb2.DataType.Value(kind)).as_numpy_dtype
    for array, shape in ((columns([], x=kind)["x"], (0,)), (rows([[], []], x=kind)["x"], (2, 0))):
        assert (array.dtype, array.shape) == (dtype, shape)
    assert "Conversion of JSON Value: 1 to type:" in unimplemented({"inputs": [1]}, x=kind)


def test_examples_have_features_of_three_kinds() -> None:
    from tensorflow.core.example.example_pb2 import Example

    example = b'{"z\\u0000z": 2, "i": [1, true], "f": 1.5, "s": ["a", {"b64": "/9g"}], "e": []}'
    body = b'{"context": {"c": "x"}, "examples": [' + example + b"]}"
    [serialized] = parse_examples(body).examples
    features = Example.FromString(serialized).features.feature
    assert features["z"].int64_list.value == [2]
    assert features["i"].int64_list.value == [1, 1]
    assert features["f"].float_list.value == [1.5]
    assert features["s"].bytes_list.value == [b"a", b"\xff\xd8"]
    assert features["e"].WhichOneof("kind") is None
    assert features["c"].bytes_list.value == [b"x"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{}", "When method is classify, key 'examples' is expected and was not found"),
        (b'{"examples": []}', "'examples' value is an empty array"),
        (b'{"examples": [1]}', "Example must be JSON object but got JSON Number"),
        (b'{"examples": [{"x": null}]}', "Feature: x has element with unexpected JSON type: Null"),
        (b'{"examples": [{"x": [[1]]}]}', "Feature: x has element with unexpected JSON type: Array"),
        (b'{"examples": [{"x": {"a": 1}}]}', "Feature: x has element with unexpected JSON type: Object"),
        (b'{"examples": [{"x": [1, 1.5]}]}', "Unexpected element type in feature: x expecting type: int64"),
        (b'{"examples": [{"x": 9223372036854775808}]}', "uint64_t element. Only int64_t is supported."),
        (b'{"examples": [{"x": {"b64": "!"}}]}', "Unable to base64 decode"),
        (b'{"examples": [{"\xff": 1}]}', " has a name that is not UTF-8"),
        (b'{"examples": [{"\\udc00": 1}]}', " has a name that is not UTF-8"),
        (
            b'{"context": {"x": "' + b"a" * 300_000 + b'"}, "examples": [' + b"{}," * 999 + b"{}]}",
            "more than the 268435456 bytes that this server takes. Send fewer examples at a time.",
        ),
        (b'{"context": [], "examples": [{}]}', "Example must be JSON object but got JSON Array"),
        (b'{"signature_name": 1, "examples": [{}]}', "'signature_name' key must be a string value."),
    ],
)
def test_what_is_no_example(body: bytes, error: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_examples(body)
    assert caught.value.message.endswith(error)
