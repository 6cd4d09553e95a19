"""Tensors, results and errors as the JSON that TensorFlow Serving answers with, byte for byte."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import numpy as np

from serving.local.pretty_json import PrettyWriter, quoted
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
    values = {name: _Values(name, tensor) for name, tensor in outputs.items()}
    writer = PrettyWriter()
    writer.start_object()
    writer.string(b"predictions")
    writer.start_array()
    for _ in range(rows):
        if len(outputs) > 1:
            writer.start_object()
        writer.single_line_arrays = True
        for name, value in values.items():
            if len(outputs) > 1:
                writer.string(name.encode())
            value.write(writer, outputs[name].shape[1:])
        writer.single_line_arrays = False
        if len(outputs) > 1:
            writer.end_object()
    writer.end_array()
    writer.end_object()
    return writer.text()


def _columns(outputs: Mapping[str, np.ndarray]) -> bytes:
    writer = PrettyWriter()
    writer.start_object()
    writer.string(b"outputs")
    if len(outputs) > 1:
        writer.start_object()
    for name, tensor in outputs.items():
        if len(outputs) > 1:
            writer.string(name.encode())
        _Values(name, tensor).write(writer, tensor.shape)
    if len(outputs) > 1:
        writer.end_object()
    writer.end_object()
    return writer.text()


class _Values:
    """A tensor's elements as JSON, written in their order."""

    def __init__(self, name: str, tensor: np.ndarray) -> None:
        self._bytes = tensor.dtype == object and name.endswith("_bytes")
        self._texts = _texts(tensor, self._bytes) if tensor.size else []
        self._next = 0

    def write(self, writer: PrettyWriter, shape: Sequence[int]) -> None:
        """Writes the next element, or lists of the next elements."""
        if not shape:
            self._write_element(writer)
        elif len(shape) == 1 and not self._bytes:
            writer.array(self._take(shape[0]))
        else:
            writer.start_array()
            for _ in range(shape[0]):
                self.write(writer, shape[1:])
            writer.end_array()

    def _write_element(self, writer: PrettyWriter) -> None:
        [text] = self._take(1)
        if self._bytes:
            writer.start_object()
            writer.string(b"b64")
            writer.raw(text)
            writer.end_object()
        else:
            writer.raw(text)

    def _take(self, count: int) -> list[bytes]:
        self._next += count
        return self._texts[self._next - count : self._next]


def _texts(tensor: np.ndarray, string_as_bytes: bool) -> list[bytes]:
    kind = tensor.dtype.name
    if kind in _SIGNIFICANT:
        return decimals(tensor)
    if kind in _INTEGERS:
        return [b"%d" % number for number in tensor.ravel().tolist()]
    if kind == "bool":
        return [b"true" if value else b"false" for value in tensor.ravel().tolist()]
    if kind == "object":
        encode = base64.b64encode if string_as_bytes else bytes
        return [quoted(encode(value)) for value in tensor.ravel().tolist()]
    raise invalid_argument(f"Failed to write JSON value for tensor type: {_TYPE_NAMES.get(kind, kind)}")
