"""The body of a REST classify or regress call, turned into the tf.Examples it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.example.feature_pb2 import Feature

from serving.local.json_document import MISSING, Members, echo, parse, to_bytes, type_name
from serving.local.json_inputs import signature_of
from serving.local.json_tensor import base64_value, is_base64
from serving.local.limits import MIB
from serving.local.status import invalid_argument

_MAX_CONTEXT_BYTES = 256 * MIB  # all the copies of one request's context together
_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


@dataclass(frozen=True)
class ExamplesRequest:
    """What a classify or regress call asks for.

    Attributes:
        signature_name: As given; empty means `serving_default`.
        examples: Serialized tf.Examples; the context's features, if there is a context, are in each.
    """

    signature_name: str
    examples: list[bytes]


def parse_examples(body: bytes) -> ExamplesRequest:
    """Reads the body of a classify or regress call.

    Raises:
        StatusError: With TensorFlow Serving's code and text.
    """
    document = parse(body)
    signature_name = signature_of(document)
    context = document.find("context")
    shared = b"" if context is MISSING else _example(context).SerializeToString()
    examples = document.find("examples")
    if examples is MISSING:
        raise invalid_argument(
            f"JSON Value: {echo(document)} When method is classify, key 'examples' is expected and was not "
            "found"
        )
    if type(examples) is not list:
        raise invalid_argument(f"JSON Value: {echo(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid_argument(f"JSON Value: {echo(document)} 'examples' value is an empty array")
    if len(shared) * len(examples) > _MAX_CONTEXT_BYTES:
        raise invalid_argument(
            f"The 'context' of {len(shared)} bytes in each of {len(examples)} examples takes more than the "
            f"{_MAX_CONTEXT_BYTES} bytes that this server takes. Send fewer examples at a time."
        )
    # Serialized messages that stand one after the other are the merged message.
    return ExamplesRequest(signature_name, [shared + _example(item).SerializeToString() for item in examples])


def _example(value: Any) -> Example:
    if not isinstance(value, Members):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_name(value)}")
    example = Example()
    for key, content in value:
        name = key.partition("\0")[0]
        feature = Feature()
        for item in content if type(content) is list else [content]:
            _add(item, name, feature)
        try:
            example.features.feature[name].CopyFrom(feature)
        except UnicodeEncodeError:
            raise invalid_argument(f"Feature: {name} has a name that is not UTF-8") from None
    return example


def _add(value: Any, name: str, feature: Feature) -> None:
    """Adds one value to the list of its type."""
    if isinstance(value, str):
        _values(feature, "bytes_list", name).append(to_bytes(value))
    elif is_base64(value):
        _values(feature, "bytes_list", name).append(base64_value(value))
    elif isinstance(value, float):
        _values(feature, "float_list", name).append(value)
    elif isinstance(value, int):
        values = _values(feature, "int64_list", name)
        if value >= 2**63:
            raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        values.append(value)
    else:
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _values(feature: Feature, kind: str, name: str) -> Any:
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        raise invalid_argument(
            f"Unexpected element type in feature: {name} expecting type: {_KINDS[present]}"
        )
    return getattr(feature, kind).value
