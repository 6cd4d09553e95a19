"""Converts the ExecutorInput of KFP's driver for TFX's executors, and converts their ExecutorOutput back.

Messages are JSON in the form of the protocol buffers ExecutorInput, ComponentInputsSpec and
ExecutorOutput of Kubeflow Pipelines.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from pipelines.kubeflow.container.paths import Paths

Json = dict[str, Any]

_ABSENT = "absent"  # as components.approvals.component writes it
_LOGS_OUTPUT = "executor-logs"  # added where the cluster stores logs; TFX has no such type
_ADDED_BY_LAUNCHER = {"display_name", "store_session_info"}
_OUR_TYPE = re.compile(r"^(title: *)catsdogs\.", re.MULTILINE)


def normalize_executor_input(executor_input: Json, inputs_spec: Json) -> Json:
    """Returns the message as TFX expects it, with unchanged URIs.

    The driver leaves the types of inputs empty, has no optional inputs, and adds an output for logs.

    Args:
        executor_input: The ExecutorInput from the driver.
        inputs_spec: The ComponentInputsSpec from the compiled pipeline.
    """
    prepared = copy.deepcopy(executor_input)
    inputs = prepared.setdefault("inputs", {})
    artifacts = inputs.setdefault("artifacts", {})
    for name, artifact_list in list(artifacts.items()):
        present = [artifact for artifact in artifact_list.get("artifacts", []) if not _is_absent(artifact)]
        if not present:
            del artifacts[name]
            continue
        artifact_list["artifacts"] = present
        for artifact in present:
            if not any((artifact.get("type") or {}).values()):
                artifact["type"] = copy.deepcopy(inputs_spec["artifacts"][name]["artifactType"])
    outputs = prepared.setdefault("outputs", {}).setdefault("artifacts", {})
    outputs.pop(_LOGS_OUTPUT, None)
    for artifact in [*_all(artifacts), *_all(outputs)]:
        schema = artifact["type"]
        if "instanceSchema" in schema:
            # MLMD stores our types under a short name; TFX imports them by their module path.
            schema["instanceSchema"] = _OUR_TYPE.sub(r"\1components.artifacts.", schema["instanceSchema"])
    return prepared


def _is_absent(artifact: Json) -> bool:
    """Returns True if the artifact is a placeholder for a missing optional input."""
    return bool(artifact.get("metadata", {}).get(_ABSENT))


def properties(artifact: Json) -> Json:
    """Returns an artifact's metadata without the properties that the launcher adds, which vary by run."""
    metadata = artifact.get("metadata", {})
    return {name: value for name, value in metadata.items() if name not in _ADDED_BY_LAUNCHER}


def with_local_paths(prepared: Json, paths: Paths) -> Json:
    """Returns the message with URIs replaced by paths that the executor can read and write."""
    local = copy.deepcopy(prepared)
    for artifact in [*_all(local["inputs"]["artifacts"]), *_all(local["outputs"]["artifacts"])]:
        artifact["uri"] = paths.executor_path(artifact["uri"])
    return local


def with_uris(executor_output: Json, paths: Paths) -> Json:
    """Returns the executor's output with paths replaced by URIs, in properties too."""
    converted = copy.deepcopy(executor_output)
    for artifact in _all(converted.get("artifacts", {})):
        artifact["uri"] = paths.to_uri(artifact["uri"])
        metadata = artifact.get("metadata", {})
        for name, value in metadata.items():
            if isinstance(value, str):
                metadata[name] = paths.to_uri(value)
    return converted


def _all(artifacts: Json) -> list[Json]:
    return [artifact for group in artifacts.values() for artifact in group.get("artifacts", [])]
