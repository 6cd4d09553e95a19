"""Adds the lookup task, which reads the data's fingerprint and the newest approvals in every run.

The lookup task and the push are never cached. The cache keys of the other tasks include its outputs.
"""

from __future__ import annotations

import hashlib
import json

from pipelines.kubeflow.container import baselines, lookup
from pipelines.kubeflow.spec import Spec, add_task
from pipelines.settings.kubeflow import LOOKUP_TASK, TASK_OF_NODE
from pipelines.settings.tree import Settings

_COMMAND = ["python", "-m", "pipelines.kubeflow.container.lookup"]


def parameters_from_lookup() -> dict[str, dict[str, str]]:
    """Returns the parameters of each task that the lookup task provides, with the names of its outputs."""
    parameters = {
        "ImageExampleGen": {"data_fingerprint": lookup.DATA_FINGERPRINT},
        "DataGate": {"source": lookup.SOURCE_NAME},
    }
    for kind in baselines.KINDS:
        parameters.setdefault(TASK_OF_NODE[kind.approved_by], {})[baselines.RUN_KEY] = kind.key
    for baseline in baselines.BASELINES:
        parameters.setdefault(TASK_OF_NODE[baseline.node], {})[baseline.name] = baseline.name
    return parameters


def add_lookup_task(spec: Spec, settings: Settings) -> None:
    """Adds the lookup task."""
    keys = {kind.key: _settings_key(spec, kind.made_by) for kind in baselines.KINDS}
    arguments = [
        *("--class_names", json.dumps(list(settings.data.class_names))),
        *("--approvals", str(settings.approvals_dir)),
        *("--keys", json.dumps(keys, separators=(",", ":"))),
    ]
    source = {"source": {"componentInputParameter": "source"}}
    add_task(spec, settings, LOOKUP_TASK, _COMMAND, arguments, source)
    outputs = [lookup.DATA_FINGERPRINT, lookup.SOURCE_NAME, *keys]
    outputs += [baseline.name for baseline in baselines.BASELINES]
    spec["components"][LOOKUP_TASK]["outputDefinitions"] = {
        "parameters": {name: {"parameterType": "STRING"} for name in outputs}
    }


def _settings_key(spec: Spec, task: str) -> str:
    """Returns a text that changes with the image or the command of a task or of one that it depends on."""
    tasks, found = [task], set()
    while tasks:
        name = tasks.pop()
        found.add(name)
        inputs = spec["root"]["dag"]["tasks"][name]["inputs"]["artifacts"].values()
        tasks += {source["taskOutputArtifact"]["producerTask"] for source in inputs} - found
    executors = spec["deploymentSpec"]["executors"]
    containers = [executors[f"{name}_executor"]["container"] for name in sorted(found)]
    key = [[container["image"], *container["args"]] for container in containers]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
