"""What the API server and the Argo compiler read from a compiled pipeline, and what they refuse there.

Go: apiserver/template/v2_template.go, v2/compiler/visitor.go, v2/compiler/argocompiler/dag.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes_pb
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from tests.kubeflow_backend.errors import Refused

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ARGO_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_KINDS = {
    pb.ParameterType.STRING: "string_value",
    pb.ParameterType.NUMBER_DOUBLE: "number_value",
    pb.ParameterType.NUMBER_INTEGER: "number_value",
    pb.ParameterType.BOOLEAN: "bool_value",
    pb.ParameterType.LIST: "list_value",
    pb.ParameterType.STRUCT: "struct_value",
}


@dataclass(frozen=True)
class Task:
    """A task of the root DAG, with all that runs it.

    Attributes:
        name: Its key in the DAG.
        spec: Where its inputs come from, its caching and its retries.
        component: Its inputs' and outputs' types and defaults.
        container: Image, command, arguments, environment.
        kubernetes: Its section of the platform document; empty if there is none.
        upstream: Tasks that must have succeeded.
    """

    name: str
    spec: pb.PipelineTaskSpec
    component: pb.ComponentSpec
    container: pb.PipelineDeploymentConfig.PipelineContainerSpec
    kubernetes: kubernetes_pb.KubernetesExecutorConfig
    upstream: tuple[str, ...]


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that the backend accepts.

    Attributes:
        name: Of the pipeline.
        root: Its default pipeline root; may be empty.
        parameters: What a run may be given.
        root_component: The component of the root DAG.
        tasks: Producers before consumers.
    """

    name: str
    root: str
    parameters: Mapping[str, pb.ComponentInputsSpec.ParameterSpec]
    root_component: pb.ComponentSpec
    tasks: Mapping[str, Task]

    def values(self, given: Mapping[str, Any]) -> dict[str, struct_pb2.Value]:
        """Returns the parameters of a run: the given ones, and the defaults of the others.

        Raises:
            Refused: One is unknown, missing, or of another type.
        """
        if unknown := sorted(set(given) - set(self.parameters)):
            raise Refused(f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}")
        values = {}
        for name, spec in self.parameters.items():
            if name in given:
                value = json_format.ParseDict(given[name], struct_pb2.Value())
                if value.WhichOneof("kind") != _KINDS.get(spec.parameter_type):
                    expected = pb.ParameterType.ParameterTypeEnum.Name(spec.parameter_type)
                    raise Refused(f"input parameter {name} requires type {expected}, but got {given[name]!r}")
                values[name] = value
            elif spec.HasField("default_value"):
                values[name] = spec.default_value
            elif spec.is_optional:
                values[name] = struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
            else:
                raise Refused(
                    f"parameter {name} is not optional, yet has neither default value nor user provided value"
                )
        return values


def load(file: Path) -> Pipeline:
    """Reads a compiled pipeline.

    Raises:
        Refused: The backend would not take it, or would silently overlook a document.
    """
    spec, platform = _documents(file)
    if spec.schema_version != "2.1.0":
        raise Refused(
            f"KFP only supports schema version 2.1.0, but the pipeline spec has {spec.schema_version}"
        )
    if not _NAME.fullmatch(spec.pipeline_info.name):
        raise Refused(f"invalid v2 pipeline spec: name {spec.pipeline_info.name!r}")
    deployment = json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec),
        pb.PipelineDeploymentConfig(),
        ignore_unknown_fields=True,  # as the backend does here, and only here
    )
    configs = platform.platforms["kubernetes"].deployment_spec.executors
    tasks = {}
    for name, task in spec.root.dag.tasks.items():
        component = _component(spec, task)
        tasks[name] = Task(
            name,
            task,
            component,
            _container(deployment, component.executor_label),
            _parse(
                json_format.MessageToDict(configs[component.executor_label]),
                kubernetes_pb.KubernetesExecutorConfig(),
            ),
            _upstream(name, task, spec.root.dag.tasks),
        )
        if not _ARGO_NAME.fullmatch(name):
            raise Refused(f"invalid task name {name!r}: Argo wants letters, digits and '-'")
    try:
        order = list(TopologicalSorter({name: tasks[name].upstream for name in sorted(tasks)}).static_order())
    except CycleError as error:
        raise Refused(f"tasks wait for each other: {' → '.join(error.args[1])}") from None
    return Pipeline(
        spec.pipeline_info.name,
        spec.default_pipeline_root,
        dict(spec.root.input_definitions.parameters),
        spec.root,
        {name: tasks[name] for name in order},
    )


def _documents(file: Path) -> tuple[pb.PipelineSpec, pb.PlatformSpec]:
    found: dict[str, Message] = {}
    for document in yaml.safe_load_all(file.read_text()):
        if document is None:
            continue
        kind = "platform" if "platforms" in document else "pipeline"
        if kind in found:
            raise Refused(f"multiple {kind} specs provided")
        found[kind] = _parse(document, pb.PlatformSpec() if kind == "platform" else pb.PipelineSpec())
    if "pipeline" not in found:
        raise Refused("no pipeline spec is provided")
    return found["pipeline"], found.get("platform", pb.PlatformSpec())


def _parse(fields: Any, message: Message) -> Any:
    try:
        return json_format.ParseDict(fields, message)
    except json_format.ParseError as error:
        raise Refused(f"invalid {message.DESCRIPTOR.name}: {error}") from None


def _component(spec: pb.PipelineSpec, task: pb.PipelineTaskSpec) -> pb.ComponentSpec:
    reference = task.component_ref.name
    if not task.task_info.name:
        raise Refused(f"task spec is required: the task of {reference} has no taskInfo.name")
    if reference not in spec.components:
        raise Refused(f"cannot find component ref name={reference!r}")
    component = spec.components[reference]
    beyond = [
        part for part in ("parameter_iterator", "artifact_iterator", "trigger_policy") if task.HasField(part)
    ]
    if component.HasField("dag") or beyond:
        raise NotImplementedError(f"{reference}: nested DAGs, loops and conditions are not run here")
    return component


def _container(
    deployment: pb.PipelineDeploymentConfig, label: str
) -> pb.PipelineDeploymentConfig.PipelineContainerSpec:
    if label not in deployment.executors:
        raise Refused(f"executor(label={label!r}) not found in deployment config")
    executor = deployment.executors[label]
    kind = executor.WhichOneof("spec")
    if kind == "importer":
        raise NotImplementedError(f"{label}: importers are not run here")
    if kind != "container":
        raise Refused(f"executor(label={label!r}): non-container and non-importer executor not implemented")
    if not list(executor.container.command) + list(executor.container.args):
        raise Refused(f"executor(label={label!r}): command and arguments are empty")
    return executor.container


def _upstream(name: str, task: pb.PipelineTaskSpec, tasks: Mapping[str, Any]) -> tuple[str, ...]:
    producers = set(task.dependent_tasks)
    for parameter in task.inputs.parameters.values():
        if parameter.HasField("task_output_parameter"):
            producers.add(parameter.task_output_parameter.producer_task)
    for artifact in task.inputs.artifacts.values():
        if artifact.HasField("task_output_artifact"):
            producers.add(artifact.task_output_artifact.producer_task)
    for producer in sorted(producers):
        if producer not in tasks:
            raise Refused(f"task {name}: unknown producer task {producer!r} in DAG")
    return tuple(sorted(producers))
