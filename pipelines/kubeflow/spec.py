"""Builds the specification of the pipeline for open-source Kubeflow Pipelines.

The specification is a dictionary in the form of KFP's proto PipelineSpec, schema 2.1.0. TFX's own compiler
makes a task of every node and writes types into it that the container's entry point finds in the image; KFP
stores the text of a task up to six times in the Workflow, which may have 1 MiB.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tfx import types, version
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.utils import name_utils

from components import fingerprint
from pipelines.kubeflow import beam, package
from pipelines.kubeflow.container.entrypoint import CODE
from pipelines.settings.kubeflow import (
    LOOKUP_TASK,
    TASK_OF_NODE,
    TASKS,
    KubeflowConfig,
    RetryConfig,
    TaskConfig,
)
from pipelines.settings.pod_names import HIDES_GPUS
from pipelines.settings.tree import Settings

Spec = dict[str, Any]

GPU_TASK = "Trainer"
REQUESTED_GPUS = "CATSDOGS_GPUS"  # the Trainer warns if it finds fewer devices

_ENTRY_POINT = ["python", "-m", "pipelines.kubeflow.container.entrypoint"]

# The cache key does not include the version that is served: with the cache, a run that returns to earlier
# settings would reuse the earlier push and leave the newer model in service. The Pusher itself does not push
# a model that is already served.
_NEVER_CACHED = (LOOKUP_TASK, "Pusher")

# Argo's limit for retries counts from the start of the first attempt and also ends the running attempt.
_WAIT_FOR_NODE = 24 * 3600
_ATTEMPT_WITHOUT_TIMEOUT = 7 * 24 * 3600

_RUN_PARAMETERS = {
    "ImageExampleGen": ("source", "max_rejected_fraction"),
    "DataGate": ("max_class_shift",),
    "QualityGate": ("override",),
}


def build_spec(
    pipeline: tfx_pipeline.Pipeline, settings: Settings, from_lookup: Mapping[str, Mapping[str, str]]
) -> Spec:
    """Returns the specification, without the lookup task.

    Args:
        pipeline: The pipeline.
        settings: The settings.
        from_lookup: The parameters of each task that the lookup task provides, with the names of its outputs.
    """
    spec: Spec = {
        "pipelineInfo": {"name": settings.pipeline_name},
        "schemaVersion": package.SCHEMA,
        "sdkVersion": f"tfx-{version.__version__}",
        "defaultPipelineRoot": pipeline_root(settings),
        "root": {"inputDefinitions": {"parameters": _run_parameters(settings)}, "dag": {"tasks": {}}},
        "components": {},
        "deploymentSpec": {"executors": {}},
    }
    nodes = {node.id: node for node in pipeline.components}
    for task, node_ids in TASKS.items():
        if task != LOOKUP_TASK:
            _add_nodes(spec, task, [nodes[node] for node in node_ids], settings, from_lookup.get(task, {}))
    return spec


def pipeline_root(settings: Settings) -> str:
    """Returns the pipeline root, with a query that names the endpoint of its object store if one is set."""
    root, store = str(settings.kubeflow.pipeline_root), settings.kubeflow.artifact_store
    if store.endpoint is None:
        return root
    scheme = "https" if store.tls else "http"
    query = f"endpoint={scheme}://{store.endpoint}&region={store.region}&use_path_style=true"
    return f"{root}?{query}"


def _run_parameters(settings: Settings) -> dict[str, Any]:
    """Returns the parameters of a run with their defaults."""
    data = settings.data
    return {
        "source": _parameter("STRING", json.dumps(data.source_spec, sort_keys=True)),
        "max_rejected_fraction": _parameter("NUMBER_DOUBLE", data.max_rejected_fraction),
        "max_class_shift": _parameter("NUMBER_DOUBLE", data.max_class_shift),
        "override": _parameter("STRING", ""),
    }


def _parameter(kind: str, default: Any) -> dict[str, Any]:
    return {"parameterType": kind, "defaultValue": default}


def _add_nodes(
    spec: Spec, task: str, nodes: list[BaseNode], settings: Settings, from_lookup: Mapping[str, str]
) -> None:
    """Adds a task that runs these nodes."""
    inputs, links = _connect(task, nodes)
    parameters: dict[str, dict[str, Any]] = {
        name: {"componentInputParameter": name} for name in _RUN_PARAMETERS.get(task, ())
    }
    parameters |= {
        name: {"taskOutputParameter": {"producerTask": LOOKUP_TASK, "outputParameterKey": output}}
        for name, output in from_lookup.items()
    }
    outputs = {name: channel.type for node in nodes for name, channel in node.outputs.items()}
    arguments = [
        *("--code_fingerprint", fingerprint.of_code(*CODE)),
        *("--approvals", str(settings.approvals_dir)),
    ]
    for node in nodes:
        arguments += ["--node", node.id, "--component", name_utils.get_full_name(type(node))]
        arguments += ["--inputs", ",".join(links[node.id])] if len(nodes) > 1 else []
        constants = _constants(node, parameters)
        arguments += ["--parameters", json.dumps(constants, separators=(",", ":"))] if constants else []
        if isinstance(node.executor_spec, BeamExecutorSpec):
            arguments += beam.node_arguments(settings, node.id)
    add_task(spec, settings, task, _ENTRY_POINT, arguments, parameters)
    component, added = spec["components"][task], spec["root"]["dag"]["tasks"][task]
    component["inputDefinitions"]["artifacts"] = {
        name: _artifact_type(channel.type) for name, channel in inputs.items()
    }
    component["outputDefinitions"] = {
        "artifacts": {name: _artifact_type(kind) for name, kind in outputs.items()}
    }
    added["inputs"]["artifacts"] = {
        name: {
            "taskOutputArtifact": {
                "producerTask": TASK_OF_NODE[channel.producer_component_id],
                "outputArtifactKey": channel.output_key,
            }
        }
        for name, channel in inputs.items()
    }
    upstream = {node.id for one in nodes for node in one.upstream_nodes} & TASK_OF_NODE.keys()
    lookup = {LOOKUP_TASK} if from_lookup else set()
    added["dependentTasks"] = sorted({TASK_OF_NODE[node] for node in upstream} - {task} | lookup)


def _connect(
    task: str, nodes: Iterable[BaseNode]
) -> tuple[dict[str, types.BaseChannel], dict[str, list[str]]]:
    """Returns the inputs of a task, and those of each node as NAME or NAME=SOURCE for the entry point."""
    inputs: dict[str, types.BaseChannel] = {}
    links: dict[str, list[str]] = {}
    for node in nodes:
        links[node.id] = []
        for name, channel in node.inputs.items():
            producer = TASK_OF_NODE.get(channel.producer_component_id)
            if producer is None:  # a baseline, which the entry point adds
                continue
            source = channel.output_key if producer == task else name
            links[node.id].append(name if source == name else f"{name}={source}")
            if producer != task and inputs.setdefault(name, channel) is not channel:
                raise ValueError(f"the nodes of the task {task} have two inputs {name}")
    return inputs, links


def _constants(node: BaseNode, parameters: Iterable[str]) -> dict[str, Any]:
    """Returns the execution properties that are the same in every run and not known from the image."""
    without = {*parameters, "code_fingerprint"}
    return {
        name: value
        for name, value in sorted(node.exec_properties.items())
        if value is not None and name not in without
    }


def _artifact_type(kind: type[types.Artifact]) -> dict[str, Any]:
    """Returns the type by its title; TFX's own types have no dot in their names."""
    title = kind.TYPE_NAME if "." in str(kind.TYPE_NAME) else f"tfx.{kind.TYPE_NAME}"
    return {"artifactType": {"schemaTitle": title}}


def add_task(
    spec: Spec,
    settings: Settings,
    task: str,
    command: list[str],
    arguments: list[str],
    parameters: Mapping[str, Mapping[str, Any]],
) -> None:
    """Adds a task without artifacts.

    Args:
        spec: The specification.
        settings: The settings.
        task: Name of the task.
        command: Command of its container.
        arguments: Arguments of the command, after the ExecutorInput.
        parameters: Where each of its parameters comes from, as in TaskInputsSpec.InputParameterSpec.
    """
    executor = f"{task}_executor"
    root_parameters = spec["root"]["inputDefinitions"]["parameters"]
    spec["components"][task] = {
        "executorLabel": executor,
        "inputDefinitions": {
            "parameters": {
                name: {
                    "parameterType": root_parameters[source["componentInputParameter"]]["parameterType"]
                    if "componentInputParameter" in source
                    else "STRING"
                }
                for name, source in parameters.items()
            }
        },
    }
    spec["deploymentSpec"]["executors"][executor] = {
        "container": {
            "command": command,
            "args": ["--executor_input", "{{$}}", *arguments],
            **_pod(task, settings.kubeflow),
        }
    }
    spec["root"]["dag"]["tasks"][task] = {
        "taskInfo": {"name": task},
        "componentRef": {"name": task},
        "inputs": {"parameters": dict(parameters)},
        **({} if task in _NEVER_CACHED else {"cachingOptions": {"enableCache": True}}),
        **_retries(settings.kubeflow.task(task), settings.kubeflow.retry),
    }


def _pod(task: str, kubeflow: KubeflowConfig) -> dict[str, Any]:
    """Returns the image and the resources; the Trainer requests GPUs, and all other tasks see none."""
    config = kubeflow.task(task)
    quantities = {
        "resourceCpuRequest": config.cpu_request,
        "resourceCpuLimit": config.cpu_limit,
        "resourceMemoryRequest": config.memory_request,
        "resourceMemoryLimit": config.memory_limit,
    }
    resources: dict[str, Any] = {
        name: quantity for name, quantity in quantities.items() if quantity is not None
    }
    image, name, value = kubeflow.images.cpu, HIDES_GPUS, "-1"
    if task == GPU_TASK:
        gpu = kubeflow.gpu
        resources["accelerator"] = {"type": gpu.type, "count": str(gpu.count)}
        image, name, value = kubeflow.images.gpu, REQUESTED_GPUS, str(gpu.count)
    return {"image": image, "env": [{"name": name, "value": value}], "resources": resources}


def _retries(config: TaskConfig, retry: RetryConfig) -> dict[str, Any]:
    """Returns how often a failed task is retried, with a time limit long enough for all attempts."""
    if not config.retries:
        return {}
    longest_attempt = (config.timeout_seconds or _ATTEMPT_WITHOUT_TIMEOUT) + _WAIT_FOR_NODE
    window = (config.retries + 1) * longest_attempt + retry.pauses(config.retries)
    return {
        "retryPolicy": {
            "maxRetryCount": config.retries,
            "backoffDuration": f"{retry.backoff_seconds}s",
            "backoffFactor": retry.backoff_factor,
            "backoffMaxDuration": f"{window}s",
        }
    }
