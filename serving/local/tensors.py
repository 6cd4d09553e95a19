"""Tensors as they travel over gRPC, read and written as TensorFlow's C++ code does, without trusting them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.local.status import StatusError, invalid_argument

_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.float16: "half_val",
    tf.bfloat16: "half_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.complex64: "scomplex_val",
    tf.complex128: "dcomplex_val",
    tf.string: "string_val",
}
_STORED_AS = {  # where a field's values are not the tensor's
    tf.float16: np.uint16,
    tf.bfloat16: np.uint16,
    tf.complex64: np.float32,
    tf.complex128: np.float64,
}
_MOST_DIMENSIONS = 254  # as TensorFlow has it
_STRING_BYTES = 24  # what TensorFlow keeps beside a string's content
_PIECE = 65536  # values that are copied at a time, so that other threads get their turn
_BY_NUMBER = {kind.as_datatype_enum: kind for kind in _FIELDS}


def decoded_bytes(protos: Mapping[str, TensorProto], max_repeated: int) -> int:
    """Returns how much memory a request's tensors take once they are decoded, which is not done here.

    Args:
        protos: What came, by the inputs' names. Where one has fewer values than its shape, the last one is
            repeated.
        max_repeated: How many bytes the repetition may make in all of them together.

    Raises:
        StatusError: A tensor is of a type or a shape that cannot travel, or they grow too large.
    """
    total = repeated = 0
    for name, proto in protos.items():
        try:
            kind, shape = _kind_and_shape(proto)
        except ValueError as error:
            raise _parsing_error(name) from error
        count, width = math.prod(shape), np.dtype(kind.as_numpy_dtype).itemsize
        sent = getattr(proto, _FIELDS[kind])
        if proto.tensor_content:  # `decode` compares it with the shape
            total += len(proto.tensor_content)
            continue
        total += len(sent) * width
        last = width
        if kind is tf.string:
            total += sum(map(len, sent))
            last = _STRING_BYTES + len(sent[-1] if sent else b"")
        repeated += max(count - len(sent), 0) * last
        if repeated > max_repeated:
            raise _parsing_error(name)
    return total + repeated


def decode(name: str, proto: TensorProto) -> np.ndarray:
    """Returns a tensor's values; strings as an array of type object that holds bytes.

    Integers that their type has no room for wrap, as in C++: 300 as an int8 is 44.

    Args:
        name: The input's name, for the error.
        proto: What came, and `decoded_bytes` found small enough.

    Raises:
        StatusError: It contradicts itself, or is of a type that cannot travel.
    """
    try:
        return _decode(proto)
    except (OverflowError, ValueError) as error:
        raise _parsing_error(name) from error


def _decode(proto: TensorProto) -> np.ndarray:
    """As `decode`, with NumPy's errors: of half a complex number, an impossible shape."""
    kind, shape = _kind_and_shape(proto)
    count = math.prod(shape)
    dtype = np.dtype(kind.as_numpy_dtype)
    if proto.tensor_content:
        if kind is tf.string or len(proto.tensor_content) != count * dtype.itemsize:
            raise ValueError("the content does not fit the shape")
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = _values(getattr(proto, _FIELDS[kind]), np.dtype(_STORED_AS.get(kind, dtype))).view(dtype)
    if len(values) < count:
        last = values[-1] if len(values) else (b"" if kind is tf.string else dtype.type())
        values = np.concatenate([values, np.full(count - len(values), last, dtype)])
    return values[:count].reshape(shape)


def _kind_and_shape(proto: TensorProto) -> tuple[tf.DType, list[int]]:
    dims = proto.tensor_shape.dim
    kind = _BY_NUMBER.get(proto.dtype)
    if kind is None or proto.tensor_shape.unknown_rank or len(dims) > _MOST_DIMENSIONS:
        raise ValueError("a tensor has a type and a shape")
    shape = [dim.size for dim in dims]
    if any(size < 0 for size in shape):
        raise ValueError("a tensor's shape is known")
    return kind, shape


def _values(field: Sequence[Any], dtype: np.dtype) -> np.ndarray:
    values = np.empty(len(field), dtype)
    whole = dtype.kind in "iu" and dtype.itemsize < 8  # such fields are wider than their tensors
    for start in range(0, len(field), _PIECE):
        piece = field[start : start + _PIECE]
        values[start : start + _PIECE] = np.array(piece, np.int64).astype(dtype) if whole else piece
    return values


def _parsing_error(name: str) -> StatusError:
    return invalid_argument(f"tensor parsing error: {name}")


def encode(array: np.ndarray, proto: TensorProto) -> None:
    """Writes an output into an empty message, its values in the field of their type, where clients look."""
    kind = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    proto.dtype = kind.as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    flat = np.ascontiguousarray(array).reshape(-1)
    flat = flat.view(_STORED_AS.get(kind, flat.dtype))
    field = getattr(proto, _FIELDS[kind])
    for start in range(0, len(flat), _PIECE):
        piece = flat[start : start + _PIECE]
        field.extend(piece.tolist() if kind is tf.string else piece.data)
