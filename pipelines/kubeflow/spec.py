"""The pipeline's specification: what TFX's compiler makes of it, and a patch for each thing that lacks.

The specification is the dictionary of KFP's proto PipelineSpec, schema 2.1.0.
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
from pipelines.kubeflow import beam, package
from pipelines.kubeflow.container.entrypoint import CODE
from pipelines.settings.kubeflow import TaskConfig
from pipelines.settings.pod_names import HIDES_GPUS
from pipelines.settings.tree import Settings

Spec = dict[str, Any]

ENTRY_POINT = ["python", "-m", "pipelines.kubeflow.container.entrypoint"]
GPU_STEP = "Trainer"
ASKED_GPUS = "CATSDOGS_GPUS"  # lets the Trainer say that it does not see what was asked for

# Argo counts from the first try's start, and when the time is over it ends the try that is on then.
_WAIT_FOR_NODE = 24 * 3600
_TRY_WITHOUT_TIMEOUT = 7 * 24 * 3600

PUSH_STEP = "Pusher"

# The input that a step approves, when its output says `blessed`, and the ledger it is written into.
_APPROVES = {"DataGate": "statistics:accepted-data", "QualityGate": "model:blessed-model"}


def of_tfx(pipeline: tfx_pipeline.Pipeline, settings: Settings) -> Spec:
    """Returns what TFX's own compiler makes of the pipeline."""
    images = settings.kubeflow.images
    built = pipeline_builder.PipelineBuilder(
        pipeline,
        default_image={pipeline_builder.DEFAULT_IMAGE_PATH_KEY: images.cpu, GPU_STEP: images.gpu},
        default_commands=ENTRY_POINT,
        use_pipeline_spec_2_1=True,
    ).build()
    built.schema_version = package.SCHEMA
    built.sdk_version = f"tfx-{version.__version__}"
    spec: Spec = json_format.MessageToDict(built)
    return spec


def name_pipeline_root(spec: Spec, settings: Settings) -> None:
    """Writes where artifacts are kept, with the store's service as KFP's launcher reads it."""
    spec["defaultPipelineRoot"] = pipeline_root(settings)


def pipeline_root(settings: Settings) -> str:
    """Returns the pipeline root, with the query that names the service of its store, if one is set."""
    root, store = str(settings.kubeflow.pipeline_root), settings.kubeflow.artifact_store
    if store.endpoint is None:
        return root
    scheme = "https" if store.tls else "http"
    query = f"endpoint={scheme}://{store.endpoint}&region={store.region}&use_path_style=true"
    return f"{root}?{query}"


def open_parameters(spec: Spec, settings: Settings) -> None:
    """Gives the run its parameters, each with a default, and wires them to the steps that have them."""
    data = settings.data
    parameters = {
        "source": _parameter("STRING", json.dumps(data.source_spec, sort_keys=True)),
        "max_rejected_fraction": _parameter("NUMBER_DOUBLE", data.max_rejected_fraction),
        "max_class_shift": _parameter("NUMBER_DOUBLE", data.max_class_shift),
        "override": _parameter("STRING", ""),
    }
    spec["root"]["inputDefinitions"] = {"parameters": parameters}
    for step, name in (
        ("ImageExampleGen", "source"),
        ("ImageExampleGen", "max_rejected_fraction"),
        ("DataGate", "max_class_shift"),
        ("QualityGate", "override"),
    ):
        spec["root"]["dag"]["tasks"][step]["inputs"]["parameters"][name] = {"componentInputParameter": name}


def _parameter(kind: str, default: Any) -> dict[str, Any]:
    return {"parameterType": kind, "defaultValue": default}


def add_input(spec: Spec, step: str, name: str, source: Mapping[str, Any], default: str) -> None:
    """Adds a text parameter to a step, or takes an existing one from elsewhere.

    Args:
        spec: The specification.
        step: The step's id.
        name: The parameter's name.
        source: Where the value comes from, as in TaskInputsSpec.InputParameterSpec.
        default: The component's default.
    """
    inputs = spec["components"][step].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    inputs[name] = _parameter("STRING", default)
    task = spec["root"]["dag"]["tasks"][step]
    task.setdefault("inputs", {}).setdefault("parameters", {})[name] = dict(source)


def fill_defaults(spec: Spec) -> None:
    """Gives every parameter of every component a default: the value that this pipeline passes.

    What comes from another step has one already, from `add_input`.
    """
    root = spec["root"]["inputDefinitions"]["parameters"]
    for task in spec["root"]["dag"]["tasks"].values():
        definitions = spec["components"][task["componentRef"]["name"]].get("inputDefinitions", {})
        for key, definition in definitions.get("parameters", {}).items():
            given = task["inputs"]["parameters"][key]
            if "runtimeValue" in given:
                definition["defaultValue"] = given["runtimeValue"]["constant"]
            elif "componentInputParameter" in given:
                definition["defaultValue"] = root[given["componentInputParameter"]]["defaultValue"]


def set_arguments(spec: Spec, pipeline: tfx_pipeline.Pipeline, settings: Settings) -> None:
    """Gives each step's entry point what it needs beside TFX's arguments, and Beam's to Beam steps alone."""
    code = fingerprint.of_code(*CODE)
    for node in pipeline.components:
        container = _container(spec, node.id)
        arguments = container["args"]
        inputs_spec = json.dumps(_types(spec["components"][node.id]["inputDefinitions"]), sort_keys=True)
        own = [
            *arguments[: arguments.index("--json_serialized_inputs_spec_args")],
            *("--json_serialized_inputs_spec_args", inputs_spec),
            *("--code_fingerprint", code),
        ]
        if node.id in _APPROVES:
            own += ["--approves", _APPROVES[node.id], "--approvals", str(settings.approvals_dir)]
        if isinstance(node.executor_spec, executor_spec.BeamExecutorSpec):
            own += ["--keep_remote"] if beam.is_remote(settings, node.id) else []
            own += beam.arguments(settings, node.id)
        container["args"] = own


def never_cache_push(spec: Spec) -> None:
    """Takes the push out of KFP's cache, whose key does not hold what is served by now.

    Going back to earlier settings would otherwise find the earlier push there, and leave the model that
    replaced it in its place. A model that is still served is not pushed again.
    """
    del spec["root"]["dag"]["tasks"][PUSH_STEP]["cachingOptions"]


def _types(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Returns input definitions without defaults, which do not belong in a command and so in a cache key."""
    parameters = {
        name: {"parameterType": definition["parameterType"]}
        for name, definition in definitions.get("parameters", {}).items()
    }
    return {**definitions, "parameters": parameters}


def _container(spec: Spec, step: str) -> dict[str, Any]:
    executor = spec["components"][step]["executorLabel"]
    container: dict[str, Any] = spec["deploymentSpec"]["executors"][executor]["container"]
    return container


def set_resources(spec: Spec, settings: Settings) -> None:
    """Gives each pod its requests and limits; the Trainer alone asks for GPUs, the others do not see any."""
    for step in spec["components"]:
        container = _container(spec, step)
        resources = _resources(settings.kubeflow.task(step))
        if step == GPU_STEP:
            gpu = settings.kubeflow.gpu
            resources["accelerator"] = {"type": gpu.type, "count": str(gpu.count)}
            container["env"] = [{"name": ASKED_GPUS, "value": str(gpu.count)}]
        else:
            container["env"] = [{"name": HIDES_GPUS, "value": "-1"}]
        if resources:
            container["resources"] = resources


def _resources(step: TaskConfig) -> dict[str, Any]:
    quantities = {
        "resourceCpuRequest": step.cpu_request,
        "resourceCpuLimit": step.cpu_limit,
        "resourceMemoryRequest": step.memory_request,
        "resourceMemoryLimit": step.memory_limit,
    }
    return {name: quantity for name, quantity in quantities.items() if quantity is not None}


def set_retries(spec: Spec, settings: Settings) -> None:
    """Lets failed steps be tried again, for as long as all tries together may take."""
    retry = settings.kubeflow.retry
    for step, task in spec["root"]["dag"]["tasks"].items():
        own = settings.kubeflow.task(step)
        if own.retries:
            longest_try = (own.timeout_seconds or _TRY_WITHOUT_TIMEOUT) + _WAIT_FOR_NODE
            window = (own.retries + 1) * longest_try + retry.pauses(own.retries)
            task["retryPolicy"] = {
                "maxRetryCount": own.retries,
                "backoffDuration": f"{retry.backoff_seconds}s",
                "backoffFactor": retry.backoff_factor,
                "backoffMaxDuration": f"{window}s",
            }
