"""Adds the lookup tasks, which read the data's fingerprint and the newest approvals in every run.

The lookup tasks and the push are never cached. The cache keys of all other tasks include their outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components.approvals.store import SOURCE_PROPERTY
from pipelines import baseline_nodes
from pipelines.kubeflow.spec import Spec, add_input
from pipelines.settings.tree import Settings

_LOOKUP_COMMAND = ["python", "-m", "pipelines.kubeflow.container.lookup"]


def add_lookup_tasks(spec: Spec, settings: Settings) -> None:
    """Adds the lookup tasks and passes their outputs to the tasks that depend on them."""
    _add_data_fingerprint(spec, settings)
    same_source = {SOURCE_PROPERTY: "{{$.inputs.parameters['source_name']}}"}
    _add_approval_lookup(spec, settings, "AcceptedData", "accepted-data", same_source)
    add_input(spec, "AcceptedDataLookup", "source_name", _from_task("DataFingerprint", "source_name"), "")
    for baseline, where in baseline_nodes.MODEL_FILTERS.items():
        options = ["--include_missing"] if baseline_nodes.INCLUDE_MISSING_MODELS else []
        _add_approval_lookup(spec, settings, baseline, "blessed-model", where, *options)
    _wait_for_producers(spec)


def _add_data_fingerprint(spec: Spec, settings: Settings) -> None:
    arguments = [
        "data-fingerprint",
        *("--source", "{{$.inputs.parameters['source']}}"),
        *("--class_names", "{{$.inputs.parameters['class_names']}}"),
        *("--output", _output("data_fingerprint")),
        *("--source_name_output", _output("source_name")),
    ]
    _add_task(spec, settings, "DataFingerprint", arguments, "data_fingerprint", "source_name")
    class_names = json.dumps(list(settings.data.class_names))
    add_input(spec, "DataFingerprint", "source", {"componentInputParameter": "source"}, "")
    add_input(spec, "DataFingerprint", "class_names", {"runtimeValue": {"constant": class_names}}, "")
    data_fingerprint = _from_task("DataFingerprint", "data_fingerprint")
    add_input(spec, "ImageExampleGen", "data_fingerprint", data_fingerprint, "")
    source_name = _from_task("DataFingerprint", "source_name")
    add_input(spec, "DataGate", "source", source_name, settings.data.source_name)


def _add_approval_lookup(
    spec: Spec, settings: Settings, baseline: str, store: str, where: Mapping[str, str], *options: str
) -> None:
    """Adds the lookup of the newest approval; its candidate input is that of the baseline's component."""
    lookup = f"{baseline}Lookup"
    arguments = [
        "approved",
        *("--approvals", str(settings.approvals_dir)),
        *("--store", store),
        *("--candidate", "{{$.inputs.artifacts['candidate'].uri}}"),
        *(argument for name, value in where.items() for argument in ("--where", f"{name}={value}")),
        *options,
        *("--output", _output("approved")),
    ]
    _add_task(spec, settings, lookup, arguments, "approved")
    for definitions, inputs in (
        (spec["components"], "inputDefinitions"),
        (spec["root"]["dag"]["tasks"], "inputs"),
    ):
        candidate = definitions[baseline][inputs]["artifacts"]["candidate"]
        definitions[lookup][inputs] = {"artifacts": {"candidate": dict(candidate)}}
    add_input(spec, baseline, "approved", _from_task(lookup, "approved"), "")


def _add_task(spec: Spec, settings: Settings, name: str, arguments: list[str], *outputs: str) -> None:
    """Adds a task without inputs whose outputs are string parameters."""
    executor = f"{name}_executor"
    spec["components"][name] = {
        "executorLabel": executor,
        "outputDefinitions": {"parameters": {key: {"parameterType": "STRING"} for key in outputs}},
    }
    spec["deploymentSpec"]["executors"][executor] = {
        "container": {"image": settings.kubeflow.images.cpu, "command": _LOOKUP_COMMAND, "args": arguments}
    }
    spec["root"]["dag"]["tasks"][name] = {"taskInfo": {"name": name}, "componentRef": {"name": name}}


def _wait_for_producers(spec: Spec) -> None:
    """Makes every task depend on the tasks whose outputs it consumes."""
    for task in spec["root"]["dag"]["tasks"].values():
        producers = {
            produced["producerTask"]
            for group in task.get("inputs", {}).values()
            for source in group.values()
            for kind, produced in source.items()
            if kind in {"taskOutputParameter", "taskOutputArtifact"}
        }
        if producers:
            task["dependentTasks"] = sorted({*task.get("dependentTasks", ()), *producers})


def _from_task(task: str, key: str) -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}


def _output(key: str) -> str:
    return f"{{{{$.outputs.parameters['{key}'].output_file}}}}"
