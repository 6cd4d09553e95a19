"""Tensors, results and errors as the JSON that TensorFlow Serving answers with, byte for byte."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence

import numpy as np

from serving.local.pretty_json import PrettyWriter, line, quoted
from serving.local.status import invalid_argument

_SIGNIFICANT = {"float32": 9, "float64": 17}
_TYPE_NAMES = {"float16": "half"}
_INTEGERS = {"int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"}


def predict_body(outputs: Mapping[str, np.ndarray], is_row: bool) -> bytes:
    """Returns the answer to a predict call.

    Args:
        outputs: The tensors by name; strings as arrays of type object that hold bytes. A single one loses its
            name.
        is_row: Whether it is `predictions`, an entry for each row, or `outputs`, an entry for each tensor.

    Raises:
        StatusError: INVALID_ARGUMENT: there are none, they disagree about the number of rows, or have a type
            that has no JSON.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    return _rows(outputs) if is_row else _columns(outputs)


def error_body(message: str) -> bytes:
    """Returns the body of an error."""
    writer = PrettyWriter()
    writer.start_object()
    writer.string(b"error")
    writer.string(message.encode("utf-8", "surrogateescape"))
    writer.end_object()
    return writer.text()


def classify_body(classifications: Sequence[Sequence[tuple[bytes, float]]]) -> bytes:
    """Returns the answer to a classify call.

    Args:
        classifications: The labels and scores (float32) of each example.

    Raises:
        StatusError: INVALID_ARGUMENT: there are none.
    """
    if not classifications:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    writer = PrettyWriter()
    writer.start_object()
    writer.string(b"results")
    writer.start_array()
    for classes in classifications:
        writer.single_line_arrays = True
        writer.start_array()
        scores = decimals(np.array([score for _, score in classes], np.float32))
        for (label, _), score in zip(classes, scores, strict=True):
            writer.array([quoted(label), score])
        writer.end_array()
        writer.single_line_arrays = False
    writer.end_array()
    writer.end_object()
    return writer.text()


def regress_body(values: np.ndarray) -> bytes:
    """Returns the answer to a regress call.

    Args:
        values: float32 [N], one for each example.

    Raises:
        StatusError: INVALID_ARGUMENT: there are none.
    """
    if not values.size:
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    writer = PrettyWriter(single_line_arrays=True)
    writer.start_object()
    writer.string(b"results")
    writer.array(decimals(values))
    writer.end_object()
    return writer.text()


def decimals(values: np.ndarray) -> list[bytes]:
    """Returns floating-point numbers in six digits, or in as many as give the same number back."""
    numbers = values.ravel().tolist()
    texts = [f"{number:g}" for number in numbers]
    same = np.array([float(text) for text in texts], values.dtype) == values.ravel()
    digits = _SIGNIFICANT[values.dtype.name]
    for place in np.flatnonzero(~same):
        texts[place] = f"{numbers[place]:.{digits}g}"
    return [_decimal(text) for text in texts]


def _decimal(text: str) -> bytes:
    if "n" in text:
        return {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}[text]
    return (text if "." in text or "e" in text else f"{text}.0").encode()


def _rows(outputs: Mapping[str, np.ndarray]) -> bytes:
    rows = -1
    for name, tensor in outputs.items():
        if tensor.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if rows >= 0 and len(tensor) != rows:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {len(tensor)} expecting: {rows}"
            )
        rows = len(tensor)
    multiple = len(outputs) > 1
    columns = [_lists(name, tensor, 1, 2 + multiple, one_line=True) for name, tensor in outputs.items()]
    writer = PrettyWriter()
    writer.start_object()
    writer.string(b"predictions")
    writer.start_array()
    if multiple:
        names = [quoted(name.encode()) for name in outputs]
        for values in zip(*columns, strict=True):
            writer.object(names, values)
    elif rows:
        writer.single_line_arrays = True
        writer.raw(b", ".join(columns[0]))
        writer.single_line_arrays = False
    writer.end_array()
    writer.end_object()
    return writer.text()


def _columns(outputs: Mapping[str, np.ndarray]) -> bytes:
    multiple = len(outputs) > 1
    values = [_lists(name, tensor, 0, 1 + multiple, one_line=False)[0] for name, tensor in outputs.items()]
    writer = PrettyWriter()
    writer.start_object()
    writer.string(b"outputs")
    if multiple:
        writer.object([quoted(name.encode()) for name in outputs], values)
    else:
        writer.raw(values[0])
    writer.end_object()
    return writer.text()


def _lists(name: str, tensor: np.ndarray, axes: int, depth: int, one_line: bool) -> list[bytes]:
    """Returns a tensor as JSON values: one for each place along its first axes.

    Args:
        name: Of the output.
        tensor: Of any rank, `axes` at least.
        axes: How many axes are not written as lists.
        depth: How many lists and objects the values stand in.
        one_line: Whether a list stands on one line.
    """
    shape = tensor.shape
    inner = depth + tensor.ndim - axes
    texts = _texts(tensor, _is_bytes(name, tensor), inner) if tensor.size else []
    for axis in reversed(range(axes, tensor.ndim)):
        inner -= 1
        count, size = math.prod(shape[:axis]), shape[axis]
        end = b"" if one_line else line(inner)
        start = b"" if one_line else line(inner + 1)
        between = b", " if one_line else b"," + start
        if size:
            places = range(0, count * size, size)
            texts = [b"[" + start + between.join(texts[at : at + size]) + end + b"]" for at in places]
        else:
            texts = [b"[]"] * count
    return texts


def _is_bytes(name: str, tensor: np.ndarray) -> bool:
    return tensor.dtype == object and name.endswith("_bytes")


def _texts(tensor: np.ndarray, string_as_bytes: bool, depth: int) -> list[bytes]:
    """Returns a tensor's elements as JSON values that stand in so many lists and objects."""
    kind = tensor.dtype.name
    if kind in _SIGNIFICANT:
        return decimals(tensor)
    if kind in _INTEGERS:
        return [b"%d" % number for number in tensor.ravel().tolist()]
    if kind == "bool":
        return [b"true" if value else b"false" for value in tensor.ravel().tolist()]
    if kind == "object":
        strings = tensor.ravel().tolist()
        if not string_as_bytes:
            return [quoted(value) for value in strings]
        start, end = b"{" + line(depth + 1) + b'"b64": "', b'"' + line(depth) + b"}"
        return [start + base64.b64encode(value) + end for value in strings]
    raise invalid_argument(f"Failed to write JSON value for tensor type: {_TYPE_NAMES.get(kind, kind)}")
