"""Tensors as they travel over gRPC, read and written as TensorFlow's C++ code does, without trusting them."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.local.status import invalid_argument

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
_BY_NUMBER = {kind.as_datatype_enum: kind for kind in _FIELDS}


def decode(name: str, proto: TensorProto, max_bytes: int) -> np.ndarray:
    """Returns a tensor's values; strings as an array of type object that holds bytes.

    Args:
        name: The input's name, for the error.
        proto: What came. Where it has fewer values than its shape, the last one is repeated.
        max_bytes: How large the repetition may make it.

    Raises:
        StatusError: It contradicts itself, is of a type that cannot travel, or grows too large.
    """
    try:
        return _decode(proto, max_bytes)
    except (OverflowError, ValueError) as error:
        raise invalid_argument(f"tensor parsing error: {name}") from error


def _decode(proto: TensorProto, max_bytes: int) -> np.ndarray:
    """As `decode`, with NumPy's errors: of 300 as an uint8, half a complex number, an impossible shape."""
    kind = _BY_NUMBER.get(proto.dtype)
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if kind is None or proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError("a tensor has a type and a shape")
    count = math.prod(shape)
    dtype = np.dtype(kind.as_numpy_dtype)
    if proto.tensor_content:
        if kind is tf.string or len(proto.tensor_content) != count * dtype.itemsize:
            raise ValueError("the content does not fit the shape")
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = np.array(getattr(proto, _FIELDS[kind]), _STORED_AS.get(kind, dtype)).view(dtype)
    if len(values) < count:
        if count * dtype.itemsize > max_bytes:
            raise ValueError("too many values are left out")
        last = values[-1] if len(values) else (b"" if kind is tf.string else dtype.type())
        values = np.concatenate([values, np.full(count - len(values), last, dtype)])
    return values[:count].reshape(shape)


def encode(array: np.ndarray) -> TensorProto:
    """Returns an output with its values in the field of its type, where clients look for them."""
    kind = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    proto = TensorProto(dtype=kind.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    flat = np.ascontiguousarray(array).reshape(-1)
    getattr(proto, _FIELDS[kind]).extend(flat.view(_STORED_AS.get(kind, flat.dtype)).tolist())
    return proto
