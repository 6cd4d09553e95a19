"""Parameters as texts, and texts as parameters (v2/metadata/converter.go)."""

from __future__ import annotations

import json

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from tests.kubeflow_backend.errors import Refused
from tests.kubeflow_backend.go_json import dumps, plain_number


def to_text(value: struct_pb2.Value) -> str:
    """Returns what takes a parameter's place in a command."""
    match value.WhichOneof("kind"):
        case "string_value":
            return str(value.string_value)
        case "number_value":
            return plain_number(value.number_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "list_value" | "struct_value":
            return dumps(json_format.MessageToDict(value))
        case _:
            return ""


def to_value(text: str, kind: int) -> struct_pb2.Value:
    """Returns the output parameter that a step has written into its file.

    Raises:
        Refused: The text is none of that type.
    """
    types = pb.ParameterType
    try:
        match kind:
            case types.STRING:
                return struct_pb2.Value(string_value=text)
            case types.NUMBER_INTEGER:
                return struct_pb2.Value(number_value=int(text.strip()))
            case types.NUMBER_DOUBLE:
                return struct_pb2.Value(number_value=float(text.strip()))
            case types.BOOLEAN:
                return struct_pb2.Value(bool_value=_TRUTHS[text.strip()])
        value = json_format.ParseDict(json.loads(text), struct_pb2.Value())
        if value.WhichOneof("kind") == {types.LIST: "list_value", types.STRUCT: "struct_value"}.get(kind):
            return value
    except (ValueError, KeyError, json_format.ParseError):
        pass
    raise Refused(f"TextToPbValue(text={text!r}, type={types.ParameterTypeEnum.Name(kind)}) failed")


_TRUTHS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True)
_TRUTHS |= dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False)
