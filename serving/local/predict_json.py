"""Converts REST predict requests from JSON to tensors, and their outputs to JSON."""

from __future__ import annotations

import base64
import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from serving.local.servable import DEFAULT_SIGNATURE
from serving.local.status import StatusError, invalid_argument

_MAX_RANK = 64  # of a numpy array
# The JSON types that each dtype accepts, and the numpy type that they are first converted to. As in
# TensorFlow Serving, the types of 8 and 16 bits accept every 32-bit integer, which then wraps.
_JSON_TYPES: Mapping[tf.DType, tuple[set[type], type]] = {
    tf.float32: ({int, float}, np.float64),
    tf.float64: ({int, float}, np.float64),
    tf.int8: ({int}, np.int32),
    tf.int16: ({int}, np.int32),
    tf.int32: ({int}, np.int32),
    tf.int64: ({int}, np.int64),
    tf.uint8: ({int}, np.int32),
    tf.uint32: ({int}, np.uint32),
    tf.uint64: ({int}, np.uint64),
    tf.bool: ({bool}, np.bool_),
    tf.string: ({str, dict}, object),
}


@dataclass(frozen=True)
class PredictRequest:
    """A parsed predict request.

    Attributes:
        signature_name: The signature to run.
        is_row: True for the row format (`instances`, `predictions`), False for the column format
            (`inputs`, `outputs`).
        inputs: Tensors by input name; strings as arrays of type object that hold bytes.
    """

    signature_name: str
    is_row: bool
    inputs: dict[str, np.ndarray]


def load_document(body: bytes) -> dict[str, Any]:
    """Loads the JSON object of a predict request.

    Args:
        body: UTF-8, with or without a byte order mark. Bytes that are not UTF-8 become surrogate escapes, as
            they may belong to a binary string.

    Raises:
        StatusError: The body is not a JSON object, or its `signature_name` is not a string.
    """
    text = body.decode("utf-8-sig", "surrogateescape").lstrip(" \t\r\n")
    if not text:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        document, _ = _DECODER.raw_decode(text)
    except RecursionError:
        raise invalid_argument("JSON Parse error: The document is nested too deeply") from None
    except ValueError as error:  # also raised for a number with thousands of digits
        raise invalid_argument(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid_argument(f"Expected a JSON object, got {reprlib.repr(document)}")
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise invalid_argument(f"'signature_name' must be a string, got {reprlib.repr(signature_name)}")
    return document


def parse_request(document: Mapping[str, Any], signature_defs: Mapping[str, SignatureDef]) -> PredictRequest:
    """Converts the document of a predict request to tensors.

    Args:
        document: As `load_document` returns it.
        signature_defs: The model's signatures by name.

    Raises:
        StatusError: The model has no such signature, or the values do not fit its inputs.
    """
    signature_name = document.get("signature_name") or DEFAULT_SIGNATURE
    if signature_name not in signature_defs:
        raise invalid_argument(f"The model has no signature {signature_name[:100]}")
    infos = signature_defs[signature_name].inputs
    if not infos:
        raise invalid_argument(f"The signature {signature_name} has no inputs")
    dtypes = {name: tf.as_dtype(infos[name].dtype) for name in sorted(infos)}
    if ("instances" in document) == ("inputs" in document):
        raise invalid_argument("Expected either 'instances' (rows) or 'inputs' (columns)")
    if "instances" in document:
        return PredictRequest(signature_name, True, _parse_rows(document["instances"], dtypes))
    return PredictRequest(signature_name, False, _parse_columns(document["inputs"], dtypes))


def format_response(outputs: Mapping[str, np.ndarray], is_row: bool) -> bytes:
    """Returns the JSON response to a predict request.

    Args:
        outputs: Tensors by output name; strings as arrays of type object that hold bytes. A single output is
            written without its name.
        is_row: True to write `predictions`, one entry per row; False for `outputs`, one entry per tensor.

    Raises:
        StatusError: INVALID_ARGUMENT: there are no outputs, their numbers of rows differ, or JSON cannot
            represent their type.
    """
    if not outputs:
        raise invalid_argument("The signature has no outputs")
    values = {name: _json_values(name, tensor) for name, tensor in outputs.items()}
    counts = {tensor.shape[:1] for tensor in outputs.values()}
    if is_row and (len(counts) > 1 or () in counts):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in outputs.items())
        raise invalid_argument(f"The outputs do not have a row for each instance ({shapes}): send 'inputs'")
    result: Any = values
    if len(values) == 1:
        result = next(iter(values.values()))
    elif is_row:
        result = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    document = {"predictions" if is_row else "outputs": result}
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _keep_first(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds an object; of members with the same name, the first counts, as in TensorFlow Serving."""
    return dict(reversed(members))


_DECODER = json.JSONDecoder(object_pairs_hook=_keep_first)


def _parse_columns(value: Any, dtypes: Mapping[str, tf.DType]) -> dict[str, np.ndarray]:
    if not _is_object(value):
        return {_single_input(dtypes): _to_tensor(value, dtype) for dtype in dtypes.values()}
    if missing := [name for name in dtypes if name not in value]:
        raise invalid_argument(f"'inputs' is missing {', '.join(missing)}")
    return {name: _to_tensor(value[name], dtype) for name, dtype in dtypes.items()}


def _parse_rows(rows: Any, dtypes: Mapping[str, tf.DType]) -> dict[str, np.ndarray]:
    if not isinstance(rows, list) or not rows:
        raise invalid_argument("'instances' must be a list with at least one row")
    is_object = _is_object(rows[0])
    for position, row in enumerate(rows):
        if _is_object(row) != is_object or (is_object and row.keys() != dtypes.keys()):
            raise invalid_argument(
                f"Row {position} of 'instances' is {reprlib.repr(row)}: expected "
                + (
                    f"an object with {', '.join(dtypes)}"
                    if is_object
                    else "a plain value, like the first row"
                )
            )
    columns = (
        {name: [row[name] for row in rows] for name in dtypes} if is_object else {_single_input(dtypes): rows}
    )
    return {name: _rows_to_tensor(name, column, dtypes[name]) for name, column in columns.items()}


def _single_input(dtypes: Mapping[str, tf.DType]) -> str:
    if len(dtypes) > 1:
        raise invalid_argument(f"Expected objects with the inputs {', '.join(dtypes)}, got plain values")
    return next(iter(dtypes))


def _rows_to_tensor(name: str, rows: list[Any], dtype: tf.DType) -> np.ndarray:
    """Converts rows to one tensor; the error names the first row that does not fit the rows before it."""
    try:
        return _to_tensor(rows, dtype)
    except StatusError as error:
        reason = error.message
    # Bisect: rows[:valid] convert together, rows[:invalid] do not.
    valid, invalid = 0, len(rows)
    while invalid - valid > 1:
        middle = (valid + invalid) // 2
        try:
            _to_tensor([rows[0], *rows[valid:middle]], dtype)
            valid = middle
        except StatusError as error:
            reason, invalid = error.message, middle
    raise invalid_argument(f"Row {valid} of 'instances', input {name}: {reason}")


def _to_tensor(value: Any, dtype: tf.DType) -> np.ndarray:
    """Converts a JSON value to a tensor, without a Python loop over its numbers."""
    shape: list[int] = []
    leaves = [value]
    while leaves and type(leaves[0]) is list:
        if set(map(type, leaves)) != {list} or len(sizes := set(map(len, leaves))) > 1:
            raise invalid_argument("Lists at the same level must have the same length")
        shape.append(sizes.pop())
        leaves = list(chain.from_iterable(leaves))
    if len(shape) > _MAX_RANK:
        raise invalid_argument(f"A tensor has at most {_MAX_RANK} dimensions, got {len(shape)}")
    if not leaves:
        return np.empty(shape, dtype.as_numpy_dtype)
    if dtype not in _JSON_TYPES:
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"JSON cannot represent the type {dtype.name}")
    types, numpy_type = _JSON_TYPES[dtype]
    if unexpected := set(map(type, leaves)) - types:
        wrong = next(leaf for leaf in leaves if type(leaf) in unexpected)
        raise invalid_argument(f"Expected {dtype.name}, got {reprlib.repr(wrong)}")
    if dtype == tf.string:
        leaves = [_decode_string(leaf) for leaf in leaves]
    try:
        with np.errstate(over="ignore"):  # 1e300 is Infinity, as in C++
            array = np.array(leaves, numpy_type).astype(dtype.as_numpy_dtype)
    except OverflowError as error:
        raise invalid_argument(f"Expected {dtype.name}: {error}") from None
    return array.reshape(shape)


def _is_object(value: Any) -> bool:
    """Returns True for an object of inputs by name, False for a plain value or a `{"b64": …}`."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Mapping[str, Any]) -> bool:
    return value.keys() == {"b64"} and isinstance(value["b64"], str)


def _decode_string(value: str | dict[str, Any]) -> bytes:
    """Returns the bytes of a string, or of a `{"b64": …}` with or without padding."""
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise invalid_argument(f"A string cannot be encoded as UTF-8: {error.reason}") from None
    if not _is_base64(value):
        raise invalid_argument(f'Expected a string or {{"b64": …}}, got {reprlib.repr(value)}')
    text = "".join(value["b64"].split())
    unpadded = text.rstrip("=")
    padding = "=" * (-len(unpadded) % 4)
    try:
        if len(text) - len(unpadded) not in (0, len(padding)):
            raise ValueError("the padding has the wrong length")
        return base64.b64decode(unpadded + padding, validate=True)
    except ValueError as error:
        raise invalid_argument(f"Unable to base64 decode {reprlib.repr(text)}: {error}") from None


def _json_values(name: str, tensor: np.ndarray) -> Any:
    """Converts a tensor to nested lists of JSON values."""
    if tensor.dtype == object:
        strings = tensor.ravel().tolist()
        values = np.empty(len(strings), object)
        if name.endswith("_bytes"):
            values[:] = [{"b64": base64.b64encode(value).decode()} for value in strings]
        else:
            values[:] = [value.decode("utf-8", "surrogateescape") for value in strings]
        return values.reshape(tensor.shape).tolist()
    if tensor.dtype == np.float32:
        return _shorten_floats(tensor).tolist()
    if tensor.dtype.kind in "iub" or tensor.dtype == np.float64:
        return tensor.tolist()
    raise invalid_argument(f"The output {name} has the type {tensor.dtype.name}, which JSON cannot represent")


def _shorten_floats(tensor: np.ndarray) -> np.ndarray:
    """Converts float32 to float64 with six digits, or with nine where six do not give the same float32.

    0.1 stays 0.1 and does not become 0.10000000149011612, as in TensorFlow Serving.
    """
    flat = tensor.ravel()
    numbers = flat.tolist()
    values = np.array([float(f"{number:g}") for number in numbers], np.float64)
    with np.errstate(over="ignore"):
        is_exact = values.astype(np.float32) == flat
    for index in np.flatnonzero(~is_exact).tolist():
        values[index] = float(f"{numbers[index]:.9g}")
    return values.reshape(tensor.shape)
