from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest

from serving.local.json_outputs import classify_body, decimals, error_body, predict_body, regress_body
from serving.local.status import StatusError


def strings(*values: bytes) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_decimals_give_the_same_number_back(dtype: type) -> None:
    bits = np.random.default_rng(1).integers(0, 2**32, (20_000, 2), np.uint32)
    values: np.ndarray = np.frombuffer(bits.tobytes(), dtype)
    finite = values[np.isfinite(values)]
    texts = decimals(finite)
    np.testing.assert_array_equal(np.array([float(text) for text in texts], dtype), finite)
    assert all(b"." in text or b"e" in text for text in texts)


@pytest.mark.parametrize(
    ("value", "single", "double"),
    [
        (0.0, b"0.0", b"0.0"),
        (-0.0, b"-0.0", b"-0.0"),
        (0.1, b"0.1", b"0.1"),
        (1 / 3, b"0.333333343", b"0.33333333333333331"),
        (100000, b"100000.0", b"100000.0"),
        (1e6, b"1e+06", b"1e+06"),
        (1234567, b"1234567.0", b"1234567.0"),
        (0.00003, b"3e-05", b"3e-05"),
        (1e-45, b"1.4013e-45", b"1e-45"),
        (16777216, b"16777216.0", b"16777216.0"),
        (np.nan, b"NaN", b"NaN"),
        (-np.inf, b"-Infinity", b"-Infinity"),
    ],
)
def test_spelling_of_decimals(value: float, single: bytes, double: bytes) -> None:
    assert decimals(np.array([value], np.float32)) == [single]
    assert decimals(np.array([value], np.float64)) == [double]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), (3,), (2, 3), (2, 2, 2), (1, 2, 0, 3)])
@pytest.mark.parametrize("is_row", [True, False])
def test_shapes(shape: tuple[int, ...], is_row: bool) -> None:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    body = predict_body({"y": array}, is_row)
    assert json.loads(body) == {"predictions" if is_row else "outputs": array.tolist()}
    both = json.loads(predict_body({"y": array, "z_bytes": np.full(shape, b"cat", object)}, is_row))
    encoded = np.full(shape, {"b64": "Y2F0"}, object).tolist()
    if is_row:
        assert both == {
            "predictions": [{"y": y, "z_bytes": z} for y, z in zip(array.tolist(), encoded, strict=True)]
        }
    else:
        assert both == {"outputs": {"y": array.tolist(), "z_bytes": encoded}}


def test_layout_of_lists_of_bytes() -> None:
    array = strings(b"c", b"d").reshape(1, 2)
    row = (
        b'{\n    "predictions": [[{\n                "b64": "Yw=="\n            }, {\n'
        b'                "b64": "ZA=="\n            }]\n    ]\n}'
    )
    assert predict_body({"x_bytes": array}, is_row=True) == row
    assert predict_body({"x_bytes": strings(b"c").reshape(())}, is_row=False) == (
        b'{\n    "outputs": {\n        "b64": "Yw=="\n    }\n}'
    )


def test_only_names_that_end_in_bytes_are_encoded() -> None:
    for name in ("bytes", "x_bytes_", "_Bytes"):
        assert b"b64" not in predict_body({name: strings(b"c")}, is_row=True)
    assert predict_body({"n_bytes": np.array([1])}, is_row=True) == b'{\n    "predictions": [1\n    ]\n}'


def test_strings_are_escaped_but_not_checked() -> None:
    value = bytes(range(256))
    body = predict_body({"x": strings(value)}, is_row=True)
    assert b"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000B\\f\\r\\u000E" in body
    assert b'\\u001F !\\"#' in body
    assert bytes(range(0x5D, 256)) in body


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (np.float16, "half"),
        (ml_dtypes.bfloat16, "bfloat16"),
        (np.uint16, "uint16"),
        (np.complex64, "complex64"),
    ],
)
def test_types_that_have_no_json(dtype: type, name: str) -> None:
    with pytest.raises(StatusError, match=f"^Failed to write JSON value for tensor type: {name}$"):
        predict_body({"y": np.ones(2, dtype)}, is_row=True)
    assert json.loads(predict_body({"y": np.ones(0, dtype)}, is_row=True)) == {"predictions": []}


def test_results() -> None:
    assert classify_body([[(b'c"at', 0.5), (b"dog", 1.0)], []]) == (
        b'{\n    "results": [[["c\\"at", 0.5], ["dog", 1.0]], []\n    ]\n}'
    )
    assert regress_body(np.array([1, 0.1], np.float32)) == b'{\n    "results": [1.0, 0.1]\n}'
    with pytest.raises(StatusError, match="^Cannot convert empty RegressionResults to JSON$"):
        regress_body(np.zeros(0, np.float32))


def test_error_keeps_the_bytes_of_the_request() -> None:
    assert error_body("a\udcff\0é") == b'{\n    "error": "a\xff\\u0000\xc3\xa9"\n}'
