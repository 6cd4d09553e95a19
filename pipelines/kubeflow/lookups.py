"""The tasks that look at the outside world in every run: at the data, and at what was approved last.

KFP's cache is asked for none of them, nor for the push. All others are keyed by what these find.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.approved_baseline.ledger import SOURCE
from pipelines import baselines
from pipelines.kubeflow.spec import Spec, add_input
from pipelines.settings import Settings

_LOOK = ["python", "-m", "pipelines.kubeflow.container.look"]


def add(spec: Spec, settings: Settings) -> None:
    """Adds the tasks, and gives what they find to the steps that depend on it."""
    _add_data_fingerprint(spec, settings)
    _add_approved(
        spec,
        settings,
        look="AcceptedDataLookup",
        baseline="AcceptedData",
        ledger="accepted-data",
        where={SOURCE: "{{$.inputs.parameters['source_name']}}"},
        parameters={"source_name": _from_task("DataFingerprint", "source_name")},
    )
    for baseline, where in baselines.MODELS.items():
        _add_approved(
            spec,
            settings,
            look=f"{baseline}Lookup",
            baseline=baseline,
            ledger="blessed-model",
            where=where,
            parameters={},
            options=["--hand_on_missing"] if baselines.MODELS_COUNT_WHERE_GONE else [],
        )


def _add_data_fingerprint(spec: Spec, settings: Settings) -> None:
    class_names = json.dumps(list(settings.data.class_names))
    _add_task(
        spec,
        settings,
        "DataFingerprint",
        arguments=[
            "data-fingerprint",
            *("--source", "{{$.inputs.parameters['source']}}"),
            *("--class_names", "{{$.inputs.parameters['class_names']}}"),
            *("--output", _output("data_fingerprint")),
            *("--source_name_output", _output("source_name")),
        ],
        parameters={
            "source": {"componentInputParameter": "source"},
            "class_names": {"runtimeValue": {"constant": class_names}},
        },
        outputs=["data_fingerprint", "source_name"],
    )
    found = _from_task("DataFingerprint", "data_fingerprint")
    add_input(spec, "ImageExampleGen", "data_fingerprint", found, "")
    named = _from_task("DataFingerprint", "source_name")
    add_input(spec, "DataGate", "source", named, settings.data.source_name)
    for step in ("ImageExampleGen", "DataGate"):
        _wait(spec, step, "DataFingerprint")


def _add_approved(
    spec: Spec,
    settings: Settings,
    *,
    look: str,
    baseline: str,
    ledger: str,
    where: Mapping[str, str],
    parameters: Mapping[str, Mapping[str, Any]],
    options: Sequence[str] = (),
) -> None:
    """Adds the look for what was approved last, whose candidate is the one of the baseline's component."""
    candidate = spec["root"]["dag"]["tasks"][baseline]["inputs"]["artifacts"]["candidate"]
    conditions = [argument for name, value in where.items() for argument in ("--where", f"{name}={value}")]
    _add_task(
        spec,
        settings,
        look,
        arguments=[
            "approved",
            *("--approvals", str(settings.approvals_dir)),
            *("--ledger", ledger),
            *("--candidate", "{{$.inputs.artifacts['candidate'].uri}}"),
            *conditions,
            *options,
            *("--output", _output("approved")),
        ],
        parameters=parameters,
        outputs=["approved"],
        artifacts={
            "candidate": (
                candidate,
                spec["components"][baseline]["inputDefinitions"]["artifacts"]["candidate"],
            )
        },
    )
    add_input(spec, baseline, "approved", _from_task(look, "approved"), "")
    _wait(spec, baseline, look)


def _add_task(
    spec: Spec,
    settings: Settings,
    name: str,
    *,
    arguments: list[str],
    parameters: Mapping[str, Mapping[str, Any]],
    outputs: list[str],
    artifacts: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] | None = None,
) -> None:
    """Adds a task with text parameters; artifacts are pairs: where they come from, how they are declared."""
    artifacts = artifacts or {}
    definitions: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    if parameters:
        definitions["parameters"] = {
            key: {"parameterType": "STRING", "defaultValue": ""} for key in parameters
        }
        inputs["parameters"] = {key: dict(source) for key, source in parameters.items()}
    if artifacts:
        definitions["artifacts"] = {key: dict(declared) for key, (_, declared) in artifacts.items()}
        inputs["artifacts"] = {key: dict(source) for key, (source, _) in artifacts.items()}
    spec["components"][name] = {
        "executorLabel": f"{name}_executor",
        "inputDefinitions": definitions,
        "outputDefinitions": {"parameters": {key: {"parameterType": "STRING"} for key in outputs}},
    }
    spec["deploymentSpec"]["executors"][f"{name}_executor"] = {
        "container": {"image": settings.kubeflow.images.cpu, "command": _LOOK, "args": arguments}
    }
    spec["root"]["dag"]["tasks"][name] = {
        "taskInfo": {"name": name},
        "componentRef": {"name": name},
        "inputs": inputs,
    }
    for source in (*parameters.values(), *(source for source, _ in artifacts.values())):
        for producer in (source.get("taskOutputParameter"), source.get("taskOutputArtifact")):
            if producer:
                _wait(spec, name, producer["producerTask"])


def _from_task(task: str, key: str) -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}


def _output(key: str) -> str:
    return f"{{{{$.outputs.parameters['{key}'].output_file}}}}"


def _wait(spec: Spec, step: str, before: str) -> None:
    task = spec["root"]["dag"]["tasks"][step]
    task["dependentTasks"] = sorted({*task.get("dependentTasks", ()), before})
