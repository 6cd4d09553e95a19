"""A compiled pipeline: the file that `catsdogs compile` writes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from components.errors import InputError
from pipelines.kubeflow import roots

SCHEMA = "2.1.0"

_RECOMPILE = "make it with catsdogs compile"


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        path: Its file.
        name: Name of the pipeline.
        version: Name of this version of it: the same for the same bytes.
        parameters: The root's parameters: name → definition.
        pipeline_root: Where artifacts go unless another place is named; None when it says nothing.
        steps: Names of the tasks, each after those that it waits for.
        mounts: Where every step finds a volume.
    """

    path: Path
    name: str
    version: str
    parameters: Mapping[str, Mapping[str, Any]]
    pipeline_root: str | None
    steps: Sequence[str]
    mounts: Sequence[str]


def read(path: Path) -> Package:
    """Reads and checks a compiled pipeline.

    Args:
        path: A `.yaml` file: the pipeline's document and the platform's.

    Raises:
        InputError: The file is missing, or the server would not take it.
    """
    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(
            f"The file {path} must end in .yaml, which is how KFP knows what it is: {_RECOMPILE}."
        )
    try:
        content = path.read_bytes()
        documents = [document for document in yaml.safe_load_all(content) if document is not None]
    except FileNotFoundError:
        raise InputError(
            f"The file {path} does not exist: make it with catsdogs compile --output {path}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise InputError(f"The file {path} is not YAML: {' '.join(str(error).split())}.") from None
    if not all(isinstance(document, dict) for document in documents):
        raise InputError(f"The file {path} holds no compiled pipeline: {_RECOMPILE}.")
    specs = [document for document in documents if "pipelineInfo" in document]
    platforms = [document for document in documents if "platforms" in document]
    if len(specs) != 1 or len(platforms) != 1 or len(documents) != 2:
        raise InputError(
            f"The file {path} must hold two documents, a pipeline and its Kubernetes settings, and holds "
            f"{len(specs)} and {len(platforms)} of them: {_RECOMPILE}."
        )
    spec = specs[0]
    if spec.get("schemaVersion") != SCHEMA:
        raise InputError(
            f"The file {path} has schema version {spec.get('schemaVersion')}, and Kubeflow Pipelines takes "
            f"{SCHEMA} only: {_RECOMPILE}."
        )
    try:
        tasks = spec["root"]["dag"]["tasks"]
        waits_for = {name: sorted(task.get("dependentTasks", ())) for name, task in sorted(tasks.items())}
        return Package(
            path=path,
            name=spec["pipelineInfo"]["name"],
            version=f"sha256-{hashlib.sha256(content).hexdigest()[:16]}",
            parameters=spec["root"].get("inputDefinitions", {}).get("parameters", {}),
            pipeline_root=spec.get("defaultPipelineRoot"),
            steps=tuple(TopologicalSorter(waits_for).static_order()),
            mounts=_mounts(platforms[0]),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"The file {path} holds no compiled pipeline: {_RECOMPILE}.") from None


def _mounts(platform: Mapping[str, Any]) -> tuple[str, ...]:
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    mounts = [{mount["mountPath"] for mount in executor.get("pvcMount", ())} for executor in executors]
    return tuple(sorted(set.intersection(*mounts)))


def check_root(given: str | None, package: Package) -> str:
    """Returns the pipeline root of a run.

    Args:
        given: `--pipeline-root`; None means the file's own.
        package: The pipeline.

    Raises:
        InputError: There is none, or the server has no such store.
    """
    root = package.pipeline_root if given is None else given
    if not root:
        raise InputError(
            f"The file {package.path} names no pipeline root: give --pipeline-root, such as minio://mlpipeline/v2."
        )
    try:
        return roots.check(root)
    except ValueError as error:
        raise InputError(f"The pipeline root {error}.") from None
