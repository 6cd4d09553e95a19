"""Converts the ExecutorInput of KFP's driver for TFX's executors, and converts their ExecutorOutput back.

Messages are JSON in the form of the protocol buffers ExecutorInput and ExecutorOutput of Kubeflow Pipelines.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pipelines.kubeflow.container.paths import Paths

Json = dict[str, Any]

_LOGS_OUTPUT = "executor-logs"  # added where the cluster stores logs; TFX has no such type
_ADDED_BY_LAUNCHER = {"display_name", "store_session_info"}


def normalize_executor_input(executor_input: Json) -> Json:
    """Returns the driver's message with all sections, and without the output that it adds for logs."""
    prepared = copy.deepcopy(executor_input)
    inputs = prepared.setdefault("inputs", {})
    inputs.setdefault("artifacts", {})
    inputs.setdefault("parameterValues", {})
    prepared["outputs"].setdefault("artifacts", {}).pop(_LOGS_OUTPUT, None)
    return prepared


def set_types(message: Json, input_types: Mapping[str, str], output_types: Mapping[str, str]) -> None:
    """Sets the artifact types, which the driver leaves empty, to the paths by which TFX imports them."""
    for side, types in (("inputs", input_types), ("outputs", output_types)):
        for name, group in message[side]["artifacts"].items():
            for artifact in group["artifacts"]:
                artifact["type"] = {"schemaTitle": types[name]}


def properties(artifact: Json) -> Json:
    """Returns an artifact's metadata without the properties that the launcher adds, which vary by run."""
    metadata = artifact.get("metadata", {})
    return {name: value for name, value in metadata.items() if name not in _ADDED_BY_LAUNCHER}


def with_local_paths(prepared: Json, paths: Paths) -> Json:
    """Returns the message with URIs replaced by paths that the executor can read and write."""
    local = copy.deepcopy(prepared)
    for direction in ("inputs", "outputs"):
        for artifact in all_artifacts(local[direction]["artifacts"]):
            artifact["uri"] = paths.executor_path(artifact["uri"])
    return local


def with_uris(executor_output: Json, paths: Paths) -> Json:
    """Returns the executor's output with paths replaced by URIs, in properties too."""
    converted = copy.deepcopy(executor_output)
    for artifact in all_artifacts(converted.get("artifacts", {})):
        artifact["uri"] = paths.to_uri(artifact["uri"])
        metadata = artifact.get("metadata", {})
        for name, value in metadata.items():
            if isinstance(value, str):
                metadata[name] = paths.to_uri(value)
    return converted


def all_artifacts(artifacts: Json) -> list[Json]:
    """Returns the artifacts of all inputs, or of all outputs."""
    return [artifact for group in artifacts.values() for artifact in group.get("artifacts", [])]
