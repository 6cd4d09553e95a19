"""Compiles the pipeline with TFX and patches the resulting specification for open-source Kubeflow Pipelines.

The specification is a dictionary in the form of KFP's proto PipelineSpec, schema 2.1.0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from tfx import version
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.kubeflow.v2 import pipeline_builder

from components import fingerprint
from pipelines.beam.arguments import runs_on_cluster
from pipelines.kubeflow import beam, package
from pipelines.kubeflow.container.entrypoint import CODE
from pipelines.settings.kubeflow import TaskConfig
from pipelines.settings.pod_names import HIDES_GPUS
from pipelines.settings.tree import Settings

Spec = dict[str, Any]

ENTRY_POINT = ["python", "-m", "pipelines.kubeflow.container.entrypoint"]
GPU_TASK = "Trainer"
REQUESTED_GPUS = "CATSDOGS_GPUS"  # the Trainer warns if it finds fewer devices

# Argo's limit for retries counts from the start of the first attempt and also ends the running attempt.
_WAIT_FOR_NODE = 24 * 3600
_ATTEMPT_WITHOUT_TIMEOUT = 7 * 24 * 3600

PUSH_TASK = "Pusher"

# The input that a task approves when one of its outputs has `blessed` = 1, and its approval store.
_APPROVES = {"DataGate": "statistics:accepted-data", "QualityGate": "model:blessed-model"}


def compile_with_tfx(pipeline: tfx_pipeline.Pipeline, settings: Settings) -> Spec:
    """Returns the specification that TFX's own compiler produces."""
    images = settings.kubeflow.images
    built = pipeline_builder.PipelineBuilder(
        pipeline,
        default_image={pipeline_builder.DEFAULT_IMAGE_PATH_KEY: images.cpu, GPU_TASK: images.gpu},
        default_commands=ENTRY_POINT,
        use_pipeline_spec_2_1=True,
    ).build()
    built.schema_version = package.SCHEMA
    built.sdk_version = f"tfx-{version.__version__}"
    spec: Spec = json_format.MessageToDict(built)
    return spec


def set_pipeline_root(spec: Spec, settings: Settings) -> None:
    """Sets the pipeline root, with the address of its object store in the form that KFP's launcher reads."""
    spec["defaultPipelineRoot"] = pipeline_root(settings)


def pipeline_root(settings: Settings) -> str:
    """Returns the pipeline root, with a query that names the endpoint of its object store if one is set."""
    root, store = str(settings.kubeflow.pipeline_root), settings.kubeflow.artifact_store
    if store.endpoint is None:
        return root
    scheme = "https" if store.tls else "http"
    query = f"endpoint={scheme}://{store.endpoint}&region={store.region}&use_path_style=true"
    return f"{root}?{query}"


def set_run_parameters(spec: Spec, settings: Settings) -> None:
    """Declares the run's parameters with their defaults and connects them to the tasks that use them."""
    data = settings.data
    parameters = {
        "source": _parameter("STRING", json.dumps(data.source_spec, sort_keys=True)),
        "max_rejected_fraction": _parameter("NUMBER_DOUBLE", data.max_rejected_fraction),
        "max_class_shift": _parameter("NUMBER_DOUBLE", data.max_class_shift),
        "override": _parameter("STRING", ""),
    }
    spec["root"]["inputDefinitions"] = {"parameters": parameters}
    for task, name in (
        ("ImageExampleGen", "source"),
        ("ImageExampleGen", "max_rejected_fraction"),
        ("DataGate", "max_class_shift"),
        ("QualityGate", "override"),
    ):
        spec["root"]["dag"]["tasks"][task]["inputs"]["parameters"][name] = {"componentInputParameter": name}


def _parameter(kind: str, default: Any) -> dict[str, Any]:
    return {"parameterType": kind, "defaultValue": default}


def add_input(spec: Spec, task_name: str, name: str, source: Mapping[str, Any], default: str) -> None:
    """Adds a string parameter to a task, or replaces the source of an existing one.

    Args:
        spec: The specification.
        task_name: The task's name.
        name: The parameter's name.
        source: Where the value comes from, as in TaskInputsSpec.InputParameterSpec.
        default: The component's default.
    """
    inputs = spec["components"][task_name].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    inputs[name] = _parameter("STRING", default)
    task = spec["root"]["dag"]["tasks"][task_name]
    task.setdefault("inputs", {}).setdefault("parameters", {})[name] = dict(source)


def fill_defaults(spec: Spec) -> None:
    """Sets the default of every component parameter to the value that this pipeline passes.

    Parameters that come from another task already have a default, set by `add_input`.
    """
    root = spec["root"]["inputDefinitions"]["parameters"]
    for task in spec["root"]["dag"]["tasks"].values():
        definitions = spec["components"][task["componentRef"]["name"]].get("inputDefinitions", {})
        for key, definition in definitions.get("parameters", {}).items():
            source = task["inputs"]["parameters"][key]
            if "runtimeValue" in source:
                definition["defaultValue"] = source["runtimeValue"]["constant"]
            elif "componentInputParameter" in source:
                definition["defaultValue"] = root[source["componentInputParameter"]]["defaultValue"]


def set_arguments(spec: Spec, pipeline: tfx_pipeline.Pipeline, settings: Settings) -> None:
    """Adds the arguments of our entry point to TFX's, and Beam arguments to the Beam components only."""
    code = fingerprint.of_code(*CODE)
    for node in pipeline.components:
        container = _container(spec, node.id)
        arguments = container["args"]
        inputs_spec = json.dumps(_types(spec["components"][node.id]["inputDefinitions"]), sort_keys=True)
        command_line = [
            *arguments[: arguments.index("--json_serialized_inputs_spec_args")],
            *("--json_serialized_inputs_spec_args", inputs_spec),
            *("--code_fingerprint", code),
        ]
        if node.id in _APPROVES:
            command_line += ["--approves", _APPROVES[node.id], "--approvals", str(settings.approvals_dir)]
        if isinstance(node.executor_spec, executor_spec.BeamExecutorSpec):
            command_line += ["--keep_remote"] if runs_on_cluster(settings.beam, node.id) else []
            command_line += beam.task_arguments(settings, node.id)
        container["args"] = command_line


def disable_push_cache(spec: Spec) -> None:
    """Disables KFP's cache for the push, because the cache key does not include the version that is served.

    With the cache, a run that returns to earlier settings would reuse the earlier push and leave the newer
    model in service. The Pusher itself does not push a model that is already served.
    """
    del spec["root"]["dag"]["tasks"][PUSH_TASK]["cachingOptions"]


def _types(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Returns input definitions without defaults, which must not affect the cache key."""
    parameters = {
        name: {"parameterType": definition["parameterType"]}
        for name, definition in definitions.get("parameters", {}).items()
    }
    return {**definitions, "parameters": parameters}


def _container(spec: Spec, task: str) -> dict[str, Any]:
    executor = spec["components"][task]["executorLabel"]
    container: dict[str, Any] = spec["deploymentSpec"]["executors"][executor]["container"]
    return container


def set_resources(spec: Spec, settings: Settings) -> None:
    """Sets each pod's requests and limits; the Trainer requests GPUs, and all other tasks see none."""
    for task in spec["components"]:
        container = _container(spec, task)
        resources = _resources(settings.kubeflow.task(task))
        if task == GPU_TASK:
            gpu = settings.kubeflow.gpu
            resources["accelerator"] = {"type": gpu.type, "count": str(gpu.count)}
            container["env"] = [{"name": REQUESTED_GPUS, "value": str(gpu.count)}]
        else:
            container["env"] = [{"name": HIDES_GPUS, "value": "-1"}]
        if resources:
            container["resources"] = resources


def _resources(config: TaskConfig) -> dict[str, Any]:
    quantities = {
        "resourceCpuRequest": config.cpu_request,
        "resourceCpuLimit": config.cpu_limit,
        "resourceMemoryRequest": config.memory_request,
        "resourceMemoryLimit": config.memory_limit,
    }
    return {name: quantity for name, quantity in quantities.items() if quantity is not None}


def set_retries(spec: Spec, settings: Settings) -> None:
    """Sets how often a failed task is retried, and a time limit long enough for all attempts."""
    retry = settings.kubeflow.retry
    for name, task in spec["root"]["dag"]["tasks"].items():
        config = settings.kubeflow.task(name)
        if config.retries:
            longest_attempt = (config.timeout_seconds or _ATTEMPT_WITHOUT_TIMEOUT) + _WAIT_FOR_NODE
            window = (config.retries + 1) * longest_attempt + retry.pauses(config.retries)
            task["retryPolicy"] = {
                "maxRetryCount": config.retries,
                "backoffDuration": f"{retry.backoff_seconds}s",
                "backoffFactor": retry.backoff_factor,
                "backoffMaxDuration": f"{window}s",
            }
