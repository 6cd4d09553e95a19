"""The body of a REST predict call, turned into the tensors it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.local.json_document import MISSING, Members, echo, parse
from serving.local.json_tensor import BLOCK, dense, gather, is_base64, tensor, type_string
from serving.local.status import StatusError, invalid_argument

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo


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
        body: The JSON document.
        signature_inputs: Gives the inputs of the signature of that name; asked once the document is read.

    Raises:
        StatusError: With TensorFlow Serving's code and text, or what `signature_inputs` raises.
    """
    document = parse(body)
    signature_name = signature_of(document)
    infos = signature_inputs(signature_name)
    if not infos:
        raise invalid_argument(f"Failed to get input map for signature: {signature_name or 'DEFAULT'}")
    kinds = {name: type_string(infos[name]) for name in sorted(infos)}
    instances = document.find("instances")
    inputs = document.find("inputs")
    if instances is not MISSING:
        _check_instances(document, instances, inputs)
        return PredictRequest(signature_name, True, _from_rows(instances, kinds))
    if inputs is not MISSING:
        return PredictRequest(signature_name, False, _from_columns(inputs, kinds))
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def signature_of(document: Members) -> str:
    """Returns the signature a request names; empty where it names none.

    Raises:
        StatusError: It is not a string.
    """
    name = document.find("signature_name")
    if name is MISSING:
        return ""
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {echo(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def _check_instances(document: Members, instances: Any, inputs: Any) -> None:
    if inputs is not MISSING:
        raise invalid_argument(
            f"JSON Value: {echo(document)} Not formatted correctly expecting only one of 'inputs' or "
            "'instances' keys to exist "
        )
    if type(instances) is not list:
        raise invalid_argument(f"JSON Value: {echo(document)} Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid_argument(f"JSON Value: {echo(document)} No values in 'instances' array")


def _from_columns(value: Any, kinds: Mapping[str, str]) -> dict[str, np.ndarray]:
    if isinstance(value, Members) and not is_base64(value):
        return {name: _column(name, _named(value, name), kind) for name, kind in kinds.items()}
    if len(kinds) > 1:
        raise invalid_argument(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as "
            "per tensorinfo_map"
        )
    return {name: _column(name, value, kind) for name, kind in kinds.items()}


def _named(members: Members, name: str) -> Any:
    value = members.find(name)
    if value is MISSING:
        raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    return value


def _column(name: str, value: Any, kind: str) -> np.ndarray:
    elements, shape = gather(name, value, kind)
    return tensor(name, [elements], shape)


def _from_rows(instances: list[Any], kinds: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not isinstance(instances[0], Members) and len(kinds) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as "
            "per tensorinfo_map"
        )
    rows = _Rows(kinds, named=_is_named(instances[0]))
    for start in range(0, len(instances), BLOCK):
        rows.add(start, instances[start : start + BLOCK])
    return rows.tensors(len(instances))


def _is_named(item: Any) -> bool:
    return isinstance(item, Members) and not is_base64(item)


class _Rows:
    """Reads `instances`, whole blocks at a time or, where one is not well-formed, item by item.

    Args:
        kinds: The types of the inputs by their names.
        named: Whether each item is an object with a value for each input.
    """

    def __init__(self, kinds: Mapping[str, str], named: bool) -> None:
        self._kinds = kinds
        self._named = named
        self._parts: dict[str, list[np.ndarray]] = {}
        self._firsts: dict[str, tuple[int, list[int]]] = {}

    def add(self, start: int, block: list[Any]) -> None:
        """Reads items, the first of which stands at `start`."""
        columns = self._columns(block)
        arrays = {name: self._dense(name, column) for name, column in columns.items()}
        whole = {name: array for name, array in arrays.items() if array is not None}
        if whole and len(whole) == len(arrays):
            for name, array in whole.items():
                self._take(name, array.reshape(-1), array.size // len(block), list(array.shape[1:]))
            return
        for position, item in enumerate(block, start):
            self._add_item(position, item)

    def tensors(self, rows: int) -> dict[str, np.ndarray]:
        """Returns the tensors of all the items, `rows` of them."""
        return {
            name: tensor(name, parts, [rows, *self._firsts[name][1]]) for name, parts in self._parts.items()
        }

    def _columns(self, block: list[Any]) -> dict[str, list[Any]]:
        """Returns well-formed items by column; nothing where they need a closer look."""
        if not self._named:
            return {} if any(map(_is_named, block)) else {next(iter(self._kinds)): block}
        if not all(map(_is_named, block)):
            return {}
        rows = [dict(item) for item in block]
        if any(row.keys() != self._kinds.keys() for row in rows):
            return {}
        if any(len(item) > len(self._kinds) for item in block):  # a member twice
            return {}
        return {name: [row[name] for row in rows] for name in self._kinds}

    def _dense(self, name: str, column: list[Any]) -> np.ndarray | None:
        array = dense(column, self._kinds[name])
        if array is None or name not in self._firsts:
            return array
        return array if list(array.shape[1:]) == self._firsts[name][1] else None

    def _take(self, name: str, elements: np.ndarray, size: int, shape: list[int]) -> None:
        self._firsts.setdefault(name, (size, shape))
        self._parts.setdefault(name, []).append(elements)

    def _add_item(self, position: int, item: Any) -> None:
        if self._named != _is_named(item):
            expected, got = ("object", "list") if self._named else ("value/list", "object")
            raise invalid_argument(f"Expecting {expected} but got {got} at item {position} of input list")
        if self._named:
            self._add_object(position, item)
        else:
            self._add(position, "", next(iter(self._kinds)), item)

    def _add_object(self, position: int, item: Members) -> None:
        for key, value in item:
            name = key.partition("\0")[0]
            self._add(position, f" key: {name}", name, value)
        if {key.partition("\0")[0] for key, _ in item} != set(self._kinds):
            raise invalid_argument(
                f"Failed to process element: {position} of 'instances' list. JSON object: {echo(item)} "
                f"keys must be equal to: {','.join(self._kinds)}"
            )

    def _add(self, position: int, key: str, name: str, value: Any) -> None:
        try:
            self._add_value(name, value)
        except StatusError as error:
            raise invalid_argument(
                f"Failed to process element: {position}{key} of 'instances' list. "
                f"Error: {error.code.name}: {error.message}"
            ) from error

    def _add_value(self, name: str, value: Any) -> None:
        if name not in self._kinds:
            raise invalid_argument(f"JSON object: does not have named input: {name}")
        elements, shape = gather(name, value, self._kinds[name])
        self._take(name, elements, elements.size, shape)
        first_size, first_shape = self._firsts[name]
        size = elements.size
        if size != first_size:
            raise invalid_argument(f"Expecting tensor size: {first_size} but got: {size}")
        if shape != first_shape:
            raise invalid_argument(f"Expecting shape {_text(first_shape)} but got: {_text(shape)}")


def _text(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
