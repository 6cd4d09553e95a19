"""What the driver tells a step, made into what TFX's executors understand, and their answer made back.

Messages are handled as JSON, in the form of the protocol buffers ExecutorInput, ComponentInputsSpec and
ExecutorOutput of Kubeflow Pipelines.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from pipelines.kubeflow.container.paths import Paths

Json = dict[str, Any]

_ABSENT = "absent"  # as components.approvals.component writes it
_LAUNCHERS_OWN = "executor-logs"  # an output of every step where the cluster keeps logs; TFX has no such type
_ADDED_BY_LAUNCHER = {"display_name", "store_session_info"}
_OUR_TYPE = re.compile(r"^(title: *)catsdogs\.", re.MULTILINE)


def prepare(executor_input: Json, inputs_spec: Json) -> Json:
    """Returns the message as TFX expects it, with the URIs as they came.

    The driver leaves the types of inputs empty, knows no optional inputs, and adds an output for logs.

    Args:
        executor_input: From the driver.
        inputs_spec: The component's inputs, as they were compiled.
    """
    prepared = copy.deepcopy(executor_input)
    inputs = prepared.setdefault("inputs", {})
    artifacts = inputs.setdefault("artifacts", {})
    for name, found in list(artifacts.items()):
        present = [artifact for artifact in found.get("artifacts", []) if not _is_absent(artifact)]
        if not present:
            del artifacts[name]
            continue
        found["artifacts"] = present
        for artifact in present:
            if not any((artifact.get("type") or {}).values()):
                artifact["type"] = copy.deepcopy(inputs_spec["artifacts"][name]["artifactType"])
    outputs = prepared.setdefault("outputs", {}).setdefault("artifacts", {})
    outputs.pop(_LAUNCHERS_OWN, None)
    for artifact in [*_all(artifacts), *_all(outputs)]:
        schema = artifact["type"]
        if "instanceSchema" in schema:
            # MLMD knows our types by a name of their own, TFX imports them by this one.
            schema["instanceSchema"] = _OUR_TYPE.sub(r"\1components.artifacts.", schema["instanceSchema"])
    return prepared


def _is_absent(artifact: Json) -> bool:
    """Whether an artifact only says that there is none."""
    return bool(artifact.get("metadata", {}).get(_ABSENT))


def properties(artifact: Json) -> Json:
    """Returns an artifact's metadata without the names that the launcher adds, which change by themselves."""
    metadata = artifact.get("metadata", {})
    return {name: value for name, value in metadata.items() if name not in _ADDED_BY_LAUNCHER}


def for_executor(prepared: Json, paths: Paths) -> Json:
    """Returns the message with what the executor can read and write in place of URIs."""
    local = copy.deepcopy(prepared)
    for artifact in [*_all(local["inputs"]["artifacts"]), *_all(local["outputs"]["artifacts"])]:
        artifact["uri"] = paths.for_executor(artifact["uri"])
    return local


def for_store(executor_output: Json, paths: Paths) -> Json:
    """Returns the executor's answer with URIs in place of paths, in properties too."""
    answer = copy.deepcopy(executor_output)
    for artifact in _all(answer.get("artifacts", {})):
        artifact["uri"] = paths.for_store(artifact["uri"])
        metadata = artifact.get("metadata", {})
        for name, value in metadata.items():
            if isinstance(value, str):
                metadata[name] = paths.for_store(value)
    return answer


def _all(artifacts: Json) -> list[Json]:
    return [artifact for found in artifacts.values() for artifact in found.get("artifacts", [])]
