"""What KFP's driver decides before a task's pod starts: its inputs, its outputs, its place in the cache.

Go: v2/driver/resolve.go, driver.go, cache.go and util.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from google.protobuf import struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from tests.kubeflow_backend.cache_key import cache_key, fingerprint
from tests.kubeflow_backend.errors import Refused
from tests.kubeflow_backend.metadata import ArtifactRecords
from tests.kubeflow_backend.object_store import local_path
from tests.kubeflow_backend.specs import Task
from tests.kubeflow_backend.texts import to_text

LOGS = "executor-logs"

_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")
_TYPES = pb.ParameterType.ParameterTypeEnum
_KINDS = {
    "number_value": ("NUMBER_DOUBLE", "NUMBER_INTEGER"),
    "bool_value": ("BOOLEAN",),
    "list_value": ("LIST",),
    "struct_value": ("STRUCT",),
}


@dataclass(frozen=True)
class Results:
    """What a task has put out.

    Attributes:
        artifacts: Their ids by the outputs' names.
        parameters: By name.
    """

    artifacts: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, struct_pb2.Value] = field(default_factory=dict)


def resolve_inputs(
    task: Task,
    parameters: Mapping[str, struct_pb2.Value],
    results: Mapping[str, Results],
    records: ArtifactRecords,
) -> pb.ExecutorInput.Inputs:
    """Returns what a task is given; the defaults of components, which ours do not need, are not filled in.

    Args:
        task: The task.
        parameters: Of the run.
        results: Of all tasks upstream.
        records: Which know the artifacts.

    Raises:
        Refused: A value is missing or of another type.
    """
    inputs = pb.ExecutorInput.Inputs()
    declared = task.component.input_definitions.parameters
    for name, spec in task.spec.inputs.parameters.items():
        value = _parameter(name, spec, parameters, results)
        if value.WhichOneof("kind") == "null_value":
            if name in declared and declared[name].is_optional:
                continue
            raise Refused(f"resolving input parameter {name!r}: the resolved input parameter is null")
        inputs.parameter_values[name].CopyFrom(value)
    for name, spec in declared.items():
        _check(name, spec, inputs)
    for name, spec in task.spec.inputs.artifacts.items():
        if spec.WhichOneof("kind") != "task_output_artifact":
            raise Refused(f"failed to resolve input artifact {name}: parent DAG does not have input artifact")
        source = spec.task_output_artifact
        produced = results[source.producer_task].artifacts
        if source.output_artifact_key not in produced:
            raise Refused(
                f"cannot find output artifact key {source.output_artifact_key!r} in producer task "
                f"{source.producer_task!r}"
            )
        artifact = records.get(produced[source.output_artifact_key])
        inputs.artifacts[name].artifacts.append(artifact)
    return inputs


def provision_outputs(task: Task, run_root: str, salt: str) -> pb.ExecutorInput.Outputs:
    """Returns where a task shall put what: URIs of artifacts, and files as a pod sees them.

    Args:
        task: The task.
        run_root: Below which all outputs of the run lie, without a query.
        salt: Tells this execution of the task from others.
    """
    task_root = f"{run_root}/{task.name}/{salt}"
    outputs = pb.ExecutorInput.Outputs()
    for name, spec in task.component.output_definitions.artifacts.items():
        artifact = outputs.artifacts[name].artifacts.add(name=name, uri=f"{task_root}/{name}")
        artifact.type.CopyFrom(spec.artifact_type)
        if spec.HasField("metadata"):
            artifact.metadata.CopyFrom(spec.metadata)
    logs = outputs.artifacts[LOGS].artifacts.add(name=LOGS, uri=f"{task_root}/{LOGS}")
    logs.type.schema_title = "system.Artifact"
    for name in task.component.output_definitions.parameters:
        outputs.parameters[name].output_file = f"/tmp/kfp/outputs/{name}"
    local = local_path(task_root)
    assert local is not None, "the run's root has been checked"
    outputs.output_file = str(PurePosixPath("/", local, "output_metadata.json"))
    return outputs


def task_fingerprint(task: Task, executor_input: pb.ExecutorInput, claims: Sequence[str]) -> str:
    """Returns the fingerprint under which KFP's cache keeps a task."""
    types = {
        name: _TYPES.Name(spec.parameter_type)
        for name, spec in task.component.output_definitions.parameters.items()
    }
    command = [*task.container.command, *task.container.args]
    return fingerprint(
        cache_key(executor_input.inputs, executor_input.outputs, types, command, task.container.image, claims)
    )


def resolve_command(task: Task, inputs: pb.ExecutorInput.Inputs) -> list[str]:
    """Returns command and arguments of a pod, with the placeholders of input parameters filled in.

    Raises:
        Refused: One names a parameter that the task is not given.
    """
    resolved = []
    for part in (*task.container.command, *task.container.args):
        resolved.append(
            part if "$.outputs" in part else _PARAMETER.sub(lambda found: _text(found[1], inputs), part)
        )
    return resolved


def mounts(task: Task) -> dict[str, str]:
    """Returns the names of the volume claims that a task mounts, by their paths in the pod.

    Raises:
        Refused: A path or a name is missing.
    """
    found = {}
    for mount in task.kubernetes.pvc_mount:
        claim = mount.pvc_name_parameter.runtime_value.constant.string_value or mount.constant
        if not claim or not mount.mount_path:
            raise Refused(f"task {task.name}: failed to mount volume, missing mountpath or pvc name")
        found[mount.mount_path] = claim
    return found


def _parameter(
    name: str,
    spec: pb.TaskInputsSpec.InputParameterSpec,
    parameters: Mapping[str, struct_pb2.Value],
    results: Mapping[str, Results],
) -> struct_pb2.Value:
    if spec.parameter_expression_selector:
        raise NotImplementedError(f"parameter {name!r}: expression selectors are not evaluated here")
    match spec.WhichOneof("kind"):
        case "component_input_parameter":
            if spec.component_input_parameter not in parameters:
                raise Refused(f"parent DAG does not have input parameter {spec.component_input_parameter}")
            return parameters[spec.component_input_parameter]
        case "task_output_parameter":
            source = spec.task_output_parameter
            produced = results[source.producer_task].parameters
            if source.output_parameter_key not in produced:
                raise Refused(
                    f"cannot find output parameter {source.output_parameter_key!r} of "
                    f"{source.producer_task!r}"
                )
            return produced[source.output_parameter_key]
        case "runtime_value" if spec.runtime_value.WhichOneof("value") == "constant":
            return spec.runtime_value.constant
        case "runtime_value":
            kind = spec.runtime_value.WhichOneof("value")
            raise Refused(
                f"input parameter {name!r}: param runtime value spec of type {kind} not implemented"
            )
        case kind:
            raise Refused(f"input parameter {name!r}: parameter spec of type {kind} not implemented yet")


def _check(name: str, spec: pb.ComponentInputsSpec.ParameterSpec, inputs: pb.ExecutorInput.Inputs) -> None:
    """Holds a parameter to its type; what is no string is turned into one where a string is wanted."""
    if name not in inputs.parameter_values:
        if spec.is_optional:
            return
        if not spec.HasField("default_value"):
            raise Refused(f"neither value nor default value provided for non-optional parameter {name!r}")
        if spec.parameter_type == pb.ParameterType.STRING:
            inputs.parameter_values[name].string_value = ""  # sic: the default is not looked at
            return
        raise Refused(f"parameter {name} has unknown protobuf.Value type: <nil>")
    value = inputs.parameter_values[name]
    if spec.parameter_type == pb.ParameterType.STRING:
        value.string_value = to_text(value)
        return
    actual = value.WhichOneof("kind")
    expected = _TYPES.Name(spec.parameter_type)
    if expected not in _KINDS.get(actual, ()):
        raise Refused(f"input parameter {name!r} type mismatch: expect {expected}, got {actual}")


def _text(name: str, inputs: pb.ExecutorInput.Inputs) -> str:
    if name not in inputs.parameter_values:
        raise Refused(f"parameter {name!r} not found in executor input")
    return to_text(inputs.parameter_values[name])
