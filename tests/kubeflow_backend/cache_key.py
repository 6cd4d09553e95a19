"""The key by which KFP's cache knows a task, and its fingerprint (driver/cache.go, cacheutils/cache.go)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from tests.kubeflow_backend.go_json import dumps


def cache_key(
    inputs: pb.ExecutorInput.Inputs,
    outputs: pb.ExecutorInput.Outputs,
    output_types: Mapping[str, str],
    command: Sequence[str],
    image: str,
    claims: Collection[str] = (),
) -> dict[str, Any]:
    """Returns the JSON form of the `CacheKey` message.

    Args:
        inputs: What the driver resolved; artifacts count by their ids alone.
        outputs: What the driver provisioned; URIs do not count.
        output_types: Of the output parameters, by name, such as `STRING`.
        command: Command and arguments before any placeholder is filled in.
        image: As the pipeline names it.
        claims: Names of the persistent volume claims that the task mounts.
    """
    container = {"image": image, "cmdArgs": list(command), "pvcNames": sorted(set(claims))}
    key = {
        "inputArtifactNames": {
            name: _filled({"artifactNames": [artifact.name for artifact in found.artifacts]})
            for name, found in inputs.artifacts.items()
        },
        "inputParameterValues": {name: _json(value) for name, value in inputs.parameter_values.items()},
        "outputArtifactsSpec": {
            name: {field: value for field, value in _json(found.artifacts[0]).items() if field != "uri"}
            for name, found in outputs.artifacts.items()
            if found.artifacts
        },
        "outputParametersSpec": {name: output_types[name] for name in outputs.parameters},
    }
    return _filled(key) | {"containerSpec": _filled(container)}


def fingerprint(key: Mapping[str, Any]) -> str:
    """Returns the key of the cache: the SHA-256 of its JSON, in hexadecimal digits."""
    return hashlib.sha256(dumps(key).encode()).hexdigest()


def _json(message: Message) -> Any:
    return json_format.MessageToDict(message)


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what is empty, as `protojson` does with the fields of a message that are no messages."""
    return {name: value for name, value in fields.items() if value != "" and value != [] and value != {}}
