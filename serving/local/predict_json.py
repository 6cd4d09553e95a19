"""The JSON of predict calls over REST: requests turned into tensors, and outputs into responses."""

from __future__ import annotations

import base64
import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import tensorflow as tf

from serving.local.status import StatusError, invalid_argument

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

_MAX_RANK = 64  # of a numpy array
# The JSON values that a tensor takes, and as what numpy reads them first. As with TensorFlow Serving, the
# types of 8 and 16 bits take every 32-bit integer, which then wraps.
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
    """What a predict call asks for.

    Attributes:
        signature_name: As given; empty means `serving_default`.
        is_row: Whether it came as `instances` and is answered as `predictions`; else `inputs` and `outputs`.
        inputs: The tensors by the signature's names for them; strings as arrays of type object holding bytes.
    """

    signature_name: str
    is_row: bool
    inputs: dict[str, np.ndarray]


def parse_predict(body: bytes, signature_inputs: Callable[[str], Mapping[str, TensorInfo]]) -> PredictRequest:
    """Reads the body of a predict call.

    Args:
        body: The JSON document, UTF-8, with or without a byte order mark.
        signature_inputs: Gives the inputs of the signature of that name; called once the document is read.

    Raises:
        StatusError: The body is no such request, or what `signature_inputs` raises.
    """
    document = _document(body)
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise invalid_argument(f"'signature_name' must be a string, and is {reprlib.repr(signature_name)}")
    infos = signature_inputs(signature_name)
    if not infos:
        raise invalid_argument(f"The signature {signature_name or 'serving_default'} has no inputs")
    dtypes = {name: tf.as_dtype(infos[name].dtype) for name in sorted(infos)}
    if ("instances" in document) == ("inputs" in document):
        raise invalid_argument("Expected either 'instances' (rows) or 'inputs' (columns)")
    if "instances" in document:
        return PredictRequest(signature_name, True, _from_rows(document["instances"], dtypes))
    return PredictRequest(signature_name, False, _from_columns(document["inputs"], dtypes))


def predict_body(outputs: Mapping[str, np.ndarray], is_row: bool) -> bytes:
    """Returns the response to a predict call.

    Args:
        outputs: The tensors by name; strings as arrays of type object that hold bytes. A single one loses its
            name.
        is_row: Whether it is `predictions`, an entry for each row, or `outputs`, an entry for each tensor.

    Raises:
        StatusError: INVALID_ARGUMENT: there are none, they disagree about the number of rows, or have a type
            that has no JSON.
    """
    if not outputs:
        raise invalid_argument("The signature has no outputs")
    values = {name: _json_values(name, tensor) for name, tensor in outputs.items()}
    if not is_row:
        return _dumps({"outputs": values if len(values) > 1 else next(iter(values.values()))})
    counts = {tensor.shape[:1] for tensor in outputs.values()}
    if len(counts) > 1 or () in counts:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in outputs.items())
        raise invalid_argument(f"The outputs do not have a row for each instance ({shapes}): send 'inputs'")
    if len(values) == 1:
        return _dumps({"predictions": next(iter(values.values()))})
    rows = zip(*values.values(), strict=True)
    return _dumps({"predictions": [dict(zip(values, row, strict=True)) for row in rows]})


def _document(body: bytes) -> dict[str, Any]:
    # Bytes that are not UTF-8 come through, as they may stand for a string that is no text.
    text = body.decode("utf-8-sig", "surrogateescape").lstrip(" \t\r\n")
    if not text:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        document, _ = _DECODER.raw_decode(text)
    except RecursionError:
        raise invalid_argument("JSON Parse error: The document is nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits, too
        raise invalid_argument(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid_argument(f"Expected a JSON object, and got {reprlib.repr(document)}")
    return document


def _first_wins(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object; of two members with the same name the first counts, as in TensorFlow Serving."""
    return dict(reversed(members))


_DECODER = json.JSONDecoder(object_pairs_hook=_first_wins)


def _from_columns(value: Any, dtypes: Mapping[str, tf.DType]) -> dict[str, np.ndarray]:
    if not _is_named(value):
        return {_only(dtypes): _tensor(value, dtype) for dtype in dtypes.values()}
    if missing := [name for name in dtypes if name not in value]:
        raise invalid_argument(f"'inputs' lacks {', '.join(missing)}")
    return {name: _tensor(value[name], dtype) for name, dtype in dtypes.items()}


def _from_rows(rows: Any, dtypes: Mapping[str, tf.DType]) -> dict[str, np.ndarray]:
    if not isinstance(rows, list) or not rows:
        raise invalid_argument("'instances' must be a list with at least one row")
    named = _is_named(rows[0])
    for position, row in enumerate(rows):
        if _is_named(row) != named or (named and row.keys() != dtypes.keys()):
            raise invalid_argument(
                f"Row {position} of 'instances' is {reprlib.repr(row)}: expected "
                + (f"an object with {', '.join(dtypes)}" if named else "a value, like the first one")
            )
    columns = {name: [row[name] for row in rows] for name in dtypes} if named else {_only(dtypes): rows}
    return {name: _rows_tensor(name, column, dtypes[name]) for name, column in columns.items()}


def _only(dtypes: Mapping[str, tf.DType]) -> str:
    if len(dtypes) > 1:
        raise invalid_argument(f"Expected objects with the inputs {', '.join(dtypes)}, and got plain values")
    return next(iter(dtypes))


def _rows_tensor(name: str, rows: list[Any], dtype: tf.DType) -> np.ndarray:
    """Returns rows as one tensor; the error names the first row that does not fit those before it."""
    try:
        return _tensor(rows, dtype)
    except StatusError as error:
        reason = error.message
    good, bad = 0, len(rows)  # rows[:good] fit together, rows[:bad] do not
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            _tensor([rows[0], *rows[good:middle]], dtype)
            good = middle
        except StatusError as error:
            reason, bad = error.message, middle
    raise invalid_argument(f"Row {good} of 'instances', input {name}: {reason}")


def _tensor(value: Any, dtype: tf.DType) -> np.ndarray:
    """Returns the tensor of a JSON value, without a Python step for each number."""
    shape: list[int] = []
    leaves = [value]
    while leaves and type(leaves[0]) is list:
        if set(map(type, leaves)) != {list} or len(sizes := set(map(len, leaves))) > 1:
            raise invalid_argument("Lists of the same level must have the same length")
        shape.append(sizes.pop())
        leaves = list(chain.from_iterable(leaves))
    if len(shape) > _MAX_RANK:
        raise invalid_argument(f"A tensor has at most {_MAX_RANK} dimensions, and not {len(shape)}")
    if not leaves:
        return np.empty(shape, dtype.as_numpy_dtype)
    if dtype not in _JSON_TYPES:
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"JSON has no values of the type {dtype.name}")
    types, read_as = _JSON_TYPES[dtype]
    if odd := set(map(type, leaves)) - types:
        wrong = next(leaf for leaf in leaves if type(leaf) in odd)
        raise invalid_argument(f"Expected {dtype.name}, and got {reprlib.repr(wrong)}")
    if dtype == tf.string:
        leaves = [_bytes(leaf) for leaf in leaves]
    try:
        with np.errstate(over="ignore"):  # 1e300 is Infinity, as in C++
            array = np.array(leaves, read_as).astype(dtype.as_numpy_dtype)
    except OverflowError as error:
        raise invalid_argument(f"Expected {dtype.name}: {error}") from None
    return array.reshape(shape)


def _is_named(value: Any) -> bool:
    """Whether a value is an object of inputs by their names."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Mapping[str, Any]) -> bool:
    return value.keys() == {"b64"} and isinstance(value["b64"], str)


def _bytes(value: str | dict[str, Any]) -> bytes:
    """Returns the bytes of a string or of a `{"b64": …}`, whose padding may be missing."""
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise invalid_argument(f"A string has no UTF-8: {error.reason}") from None
    if not _is_base64(value):
        raise invalid_argument(f'Expected a string or {{"b64": …}}, and got {reprlib.repr(value)}')
    text = "".join(value["b64"].split())
    bare = text.rstrip("=")
    padding = "=" * (-len(bare) % 4)
    try:
        if len(text) - len(bare) not in (0, len(padding)):
            raise ValueError("the padding has another length")
        return base64.b64decode(bare + padding, validate=True)
    except ValueError as error:
        raise invalid_argument(f"Unable to base64 decode {reprlib.repr(text)}: {error}") from None


def _json_values(name: str, tensor: np.ndarray) -> Any:
    """Returns a tensor as nested lists of what `json` writes."""
    if tensor.dtype == object:
        strings = tensor.ravel().tolist()
        values = np.empty(len(strings), object)
        if name.endswith("_bytes"):
            values[:] = [{"b64": base64.b64encode(value).decode()} for value in strings]
        else:
            values[:] = [value.decode("utf-8", "surrogateescape") for value in strings]
        return values.reshape(tensor.shape).tolist()
    if tensor.dtype == np.float32:
        return _in_few_digits(tensor).tolist()
    if tensor.dtype.kind in "iub" or tensor.dtype == np.float64:
        return tensor.tolist()
    raise invalid_argument(f"The output {name} has a type that JSON has no values of: {tensor.dtype.name}")


def _in_few_digits(tensor: np.ndarray) -> np.ndarray:
    """Returns float32 as the float64 of six digits, or of the nine that give the same float32 back.

    So 0.1 is 0.1 and not 0.10000000149011612, as with TensorFlow Serving.
    """
    flat = tensor.ravel()
    numbers = flat.tolist()
    values = np.array([float(f"{number:g}") for number in numbers], np.float64)
    with np.errstate(over="ignore"):
        same = values.astype(np.float32) == flat
    for place in np.flatnonzero(~same).tolist():
        values[place] = float(f"{numbers[place]:.9g}")
    return values.reshape(tensor.shape)


def _dumps(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")
