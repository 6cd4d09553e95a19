"""What the REST API tells about models: their versions' states, and their signatures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

if TYPE_CHECKING:
    from serving.local.servable import Servable


def status_body(statuses: Iterable[get_model_status_pb2.ModelVersionStatus]) -> bytes:
    """Returns the answer to a status call."""
    return _json(get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)).encode()


def metadata_body(servable: Servable) -> bytes:
    """Returns the answer to a metadata call."""
    spec = model_pb2.ModelSpec(name=servable.name)
    spec.version.value = servable.version
    signatures = signature_def_map(servable)
    text = f'{{\n"model_spec":{_json(spec)},\n"metadata": {{"signature_def": {_json(signatures)}}}\n}}\n'
    return text.encode()


def signature_def_map(servable: Servable) -> get_model_metadata_pb2.SignatureDefMap:
    """Returns a version's signatures as both APIs tell them."""
    return get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)


def _json(message: Message) -> str:
    text = json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=1,
        ensure_ascii=False,
    )
    return f"{text}\n"
