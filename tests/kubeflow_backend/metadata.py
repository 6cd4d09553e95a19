"""The part of ML Metadata's records that steps see, kept in a real ML Metadata store.

Go: v2/metadata/converter.go and client.go.
"""

from __future__ import annotations

import threading

import yaml
from google.protobuf import struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from tests.kubeflow_backend.go_json import dumps


class ArtifactRecords:
    """Artifacts by their ids, for several threads."""

    def __init__(self) -> None:
        config = mlmd.ConnectionConfig()
        config.fake_database.SetInParent()
        self._store = MetadataStore(config)
        self._lock = threading.Lock()

    def record(self, output: str, artifact: pb.RuntimeArtifact, store: dict[str, object]) -> int:
        """Records an output of a step.

        Args:
            output: Name of the output, the artifact's `display_name` if it has none.
            artifact: As the launcher has it after the step.
            store: How the artifact store is reached, its `store_session_info`.

        Returns:
            Its id.
        """
        if artifact.type.WhichOneof("kind") == "schema_title":
            title = artifact.type.schema_title
        else:
            title = yaml.safe_load(artifact.type.instance_schema)["title"]
        recorded = mlmd.Artifact(uri=artifact.uri, state=mlmd.Artifact.LIVE)
        for name, value in artifact.metadata.fields.items():
            recorded.custom_properties[name].CopyFrom(_to_mlmd(value))
        if "display_name" not in recorded.custom_properties:
            recorded.custom_properties["display_name"].string_value = output
        if "store_session_info" not in recorded.custom_properties:
            recorded.custom_properties["store_session_info"].string_value = dumps(store)
        with self._lock:
            recorded.type_id = self._store.put_artifact_type(mlmd.ArtifactType(name=title))
            [identity] = self._store.put_artifacts([recorded])
        return int(identity)

    def get(self, identity: int) -> pb.RuntimeArtifact:
        """Returns an artifact as the driver sends it to the consumers: without its type."""
        with self._lock:
            [recorded] = self._store.get_artifacts_by_id([identity])
        artifact = pb.RuntimeArtifact(name=str(identity), uri=recorded.uri)
        artifact.type.instance_schema = ""
        artifact.metadata.SetInParent()
        for properties in (recorded.properties, recorded.custom_properties):
            for name, value in properties.items():
                artifact.metadata.fields[name].CopyFrom(_from_mlmd(value))
        return artifact


def _to_mlmd(value: struct_pb2.Value) -> mlmd.Value:
    match value.WhichOneof("kind"):
        case "string_value":
            return mlmd.Value(string_value=value.string_value)
        case "number_value":
            return mlmd.Value(double_value=value.number_value)
        case "bool_value":
            return mlmd.Value(int_value=int(value.bool_value))
        case "list_value":
            return mlmd.Value(struct_value=struct_pb2.Struct(fields={"list": value}))
        case "struct_value":
            return mlmd.Value(struct_value=struct_pb2.Struct(fields={"struct": value}))
        case kind:
            raise ValueError(
                f"failed to convert RuntimeArtifact to MLMD artifact: unsupported value type {kind}"
            )


def _from_mlmd(value: mlmd.Value) -> struct_pb2.Value:
    match value.WhichOneof("value"):
        case "string_value":
            return struct_pb2.Value(string_value=value.string_value)
        case "double_value":
            return struct_pb2.Value(number_value=value.double_value)
        case "int_value":
            return struct_pb2.Value(number_value=value.int_value)
        case "struct_value":
            return struct_pb2.Value(struct_value=value.struct_value)
        case kind:
            raise ValueError(f"unknown property type in MLMD artifact: {kind}")
