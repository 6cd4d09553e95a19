"""What determines the outputs of a step, other than Kubeflow Pipelines sees it: not by digests and URIs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import sysconfig
from functools import cache
from typing import Any

from components import fingerprint
from pipelines.kubeflow.container import executor_input, own_code
from pipelines.kubeflow.container.paths import Paths

Json = dict[str, Any]

_FORMAT = 1  # another one for a change in how steps are run that changes what they output
# Properties that name a function of ours, which the executor calls.
_FUNCTIONS = ("preprocessing_fn", "run_fn")
# What stands between every executor and its files: TFX imports the types of artifacts by their names.
_ALWAYS = ("components.artifacts", "pipelines.kubeflow.container.executor_input")


def key(executor: str, prepared: Json, paths: Paths) -> str:
    """Returns what determines the outputs of a step, as one text.

    It covers the executor, its code and that of the functions it is given, the types of artifacts, the
    installed packages, the parameters, and the inputs' files and properties; not their URIs, which are others
    in every run.

    Args:
        executor: Dotted name of the class.
        prepared: The ExecutorInput of `executor_input.prepare`.
        paths: Where the inputs are.
    """
    inputs, outputs = prepared["inputs"], prepared["outputs"]["artifacts"]
    parameters = inputs.get("parameterValues", {})
    functions = [parameters[name] for name in _FUNCTIONS if name in parameters]
    ingredients = {
        "format": _FORMAT,
        "executor": executor,
        "code": own_code.fingerprint_behind([executor, *functions, *_ALWAYS]),
        "environment": _environment(),
        "parameters": parameters,
        "inputs": {
            name: [_identity(artifact, paths) for artifact in found["artifacts"]]
            for name, found in inputs["artifacts"].items()
        },
        "outputs": {name: found["artifacts"][0]["type"] for name, found in outputs.items()},
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


def _identity(artifact: Json, paths: Paths) -> Json:
    """Returns what tells an input from another one."""
    folder = paths.downloaded(artifact["uri"])
    return {
        "type": artifact["type"],
        "contents": fingerprint.of_folder(folder) if folder.exists() else artifact["uri"],
        "metadata": executor_input.properties(artifact),
    }


@cache
def _environment() -> list[str]:
    """Returns the versions of Python and of all that is installed.

    Not of all that can be imported: setuptools, once imported, adds packages of its own to the path.
    """
    places = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    found = importlib.metadata.distributions(path=places)
    installed = {f"{package.name}=={package.version}" for package in found}
    return [platform.python_version(), *sorted(installed)]
