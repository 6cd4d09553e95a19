"""One tensor out of JSON values, with the errors of TensorFlow Serving's json_tensor.cc.

`dense` turns well-formed values over without a Python step per number. What it does not take, `gather` goes
through in blocks and, in the block that is not well-formed, element by element as TensorFlow Serving does: so
it finds the same error first.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from serving.local import base64_text
from serving.local.json_document import Members, echo, to_bytes, type_name
from serving.local.status import StatusError, invalid_argument

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

_FLOATS = {"float": np.float32, "double": np.float64}
# The 8- and 16-bit types take every 32-bit integer, which then wraps.
_INTEGERS = {
    "int8": (np.int8, -(2**31), 2**31),
    "int16": (np.int16, -(2**31), 2**31),
    "int32": (np.int32, -(2**31), 2**31),
    "int64": (np.int64, -(2**63), 2**63),
    "uint8": (np.uint8, -(2**31), 2**31),
    "uint32": (np.uint32, 0, 2**32),
    "uint64": (np.uint64, 0, 2**64),
}
BLOCK = 4096
"""Items that are looked at together."""
MAX_RANK = 64
"""The most dimensions of a numpy array, so of a tensor here."""

_SUPPORTED = {*_FLOATS, *_INTEGERS, "bool", "string"}


def type_string(info: TensorInfo) -> str:
    """Returns TensorFlow's name of the tensor's type, such as `float` or `int64`."""
    numbers = info.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number
    return str(numbers[info.dtype].name.removeprefix("DT_").lower())


def dense(value: Any, kind: str) -> np.ndarray | None:
    """Returns the tensor of a value; None where it needs a closer look."""
    shape: list[int] = []
    leaves = [value]
    while leaves and list in (types := set(map(type, leaves))):
        if len(types) > 1 or len(lengths := set(map(len, leaves))) > 1:
            return None
        shape.append(lengths.pop())
        leaves = list(chain.from_iterable(leaves))
    try:
        return _array(leaves, kind).reshape(shape) if _fit(leaves, kind) else None
    except (OverflowError, ValueError, StatusError):  # a number or a rank too large, bad base64
        return None


def _fit(leaves: list[Any], kind: str) -> bool:
    types = set(map(type, leaves))
    if kind in _FLOATS:
        return types <= {int, float}
    if kind in _INTEGERS:
        _, low, end = _INTEGERS[kind]
        return types <= {int} and (not leaves or (low <= min(leaves) and max(leaves) < end))
    if kind == "string":
        return types <= {str, Members}
    return types <= {bool} if kind == "bool" else not leaves


def _array(leaves: list[Any], kind: str) -> np.ndarray:
    """Returns values that fit as a vector."""
    if kind in _FLOATS:
        with np.errstate(over="ignore"):  # 1e300 is Infinity, as in C++
            return np.array(leaves, np.float64).astype(_FLOATS[kind])
    if kind in _INTEGERS:
        dtype, low, _ = _INTEGERS[kind]
        return np.array(leaves, np.int64 if low else np.uint64).astype(dtype)
    if kind == "bool":
        return np.array(leaves, np.bool_)
    if kind != "string":  # has no JSON, so there is no element
        return np.empty(0, _dtype(kind))
    strings = np.empty(len(leaves), object)
    strings[:] = [_string(leaf) for leaf in leaves]
    return strings


def _dtype(kind: str) -> Any:
    import tensorflow as tf  # knows types that numpy does not

    return tf.as_dtype(kind).as_numpy_dtype


def dense_shape(value: Any) -> list[int]:
    """Returns the sizes of the lists on the way to the first element."""
    shape = []
    while type(value) is list:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def is_base64(value: Any) -> bool:
    """Whether the value is an object with nothing but a string named `b64`."""
    return (
        isinstance(value, Members) and len(value) == 1 and value[0][0] == "b64" and type(value[0][1]) is str
    )


def gather(name: str, value: Any, kind: str) -> tuple[np.ndarray, list[int]]:
    """Returns the elements of a value as a vector, and its shape.

    Raises:
        StatusError: It is not dense, has more dimensions than a tensor can have here, or an element is not of
            the type.
    """
    array = dense(value, kind)
    if array is not None:
        return array.reshape(-1), list(array.shape)
    shape = dense_shape(value)
    if len(shape) > MAX_RANK:
        raise _not_a_tensor(name)
    elements = _Elements(kind, shape)
    elements.add(value, 0)
    return np.concatenate(elements.parts), shape


def tensor(name: str, parts: list[np.ndarray], shape: list[int]) -> np.ndarray:
    """Returns the tensor of these elements; those in excess (a member given twice) are left out.

    Raises:
        StatusError: It has more dimensions than a tensor can have here.
    """
    try:
        return np.concatenate(parts)[: math.prod(shape)].reshape(shape)
    except ValueError as error:
        raise _not_a_tensor(name) from error


def _not_a_tensor(name: str) -> StatusError:
    return invalid_argument(f"tensor parsing error: {name}")


class _Elements:
    """Gathers the elements of one value that are not taken over as a whole.

    Attributes:
        parts: The elements so far.
    """

    def __init__(self, kind: str, shape: list[int]) -> None:
        self._kind = kind
        self._shape = shape
        self.parts: list[np.ndarray] = []

    def add(self, value: Any, level: int) -> None:
        rank = len(self._shape)
        if type(value) is not list:
            if level != rank:
                raise invalid_argument(
                    f"JSON Value: {echo(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {rank}"
                )
            self._add_element(value)
            return
        if level >= rank:
            raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {rank}")
        if len(value) != self._shape[level]:
            raise invalid_argument(
                f"Encountered list at unexpected size: {len(value)} at level: {level} "
                f"expected size: {self._shape[level]}"
            )
        for start in range(0, len(value), BLOCK):
            block = value[start : start + BLOCK]
            # A single item holds all that its list holds, which has been looked at as a whole.
            array = dense(block, self._kind) if len(block) > 1 else None
            if array is not None and list(array.shape[1:]) == self._shape[level + 1 :]:
                self.parts.append(array.reshape(-1))
                continue
            for item in block:
                self.add(item, level + 1)

    def _add_element(self, value: Any) -> None:
        if self._kind not in _SUPPORTED and not isinstance(value, Members):
            raise StatusError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Conversion of JSON Value: {echo(value)} to type: {self._kind}",
            )
        if not _fit([value], self._kind):
            raise invalid_argument(
                f"JSON Value: {echo(value)} Type: {type_name(value)} is not of expected type: {self._kind}"
            )
        self.parts.append(_array([value], self._kind))


def _string(value: str | Members) -> bytes:
    return to_bytes(value) if isinstance(value, str) else base64_value(value)


def base64_value(value: Members) -> bytes:
    """Returns the bytes of a {"b64": …}.

    Raises:
        StatusError: INVALID_ARGUMENT: it is not one, or not decodable.
    """
    if not is_base64(value):
        raise invalid_argument(f"JSON Value: {echo(value)} not formatted correctly for base64 data")
    return base64_text.decode(value[0][1])
