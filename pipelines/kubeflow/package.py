"""A compiled pipeline: the file that `catsdogs compile` writes, and what `catsdogs submit` may set in it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from components.errors import InputError
from pipelines.settings import DataSettings
from pipelines.settings_errors import nearest

SCHEMA = "2.1.0"

_ROOT = re.compile(r"(gs|s3|minio)://[^/?]+(/[^?]*)?(\?.+)?")
_TYPES = {
    "STRING": "a text",
    "NUMBER_DOUBLE": "a number",
    "NUMBER_INTEGER": "a whole number",
    "BOOLEAN": "true or false",
    "LIST": "a JSON list",
    "STRUCT": "a JSON object",
}
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
    """

    path: Path
    name: str
    version: str
    parameters: Mapping[str, Mapping[str, Any]]
    pipeline_root: str | None
    steps: Sequence[str]


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
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"The file {path} holds no compiled pipeline: {_RECOMPILE}.") from None


def check_root(given: str | None, package: Package) -> str:
    """Returns the pipeline root of a run.

    Args:
        given: `--pipeline-root`; None means the file's own.
        package: The pipeline.

    Raises:
        InputError: There is none, or the server has no such store.
    """
    root = given or package.pipeline_root
    if not root:
        raise InputError(
            f"The file {package.path} names no pipeline root: give --pipeline-root, such as minio://mlpipeline/v2."
        )
    if not _ROOT.fullmatch(root):
        raise InputError(
            f"The pipeline root {root!r} must be gs://BUCKET/PATH, s3://BUCKET/PATH or minio://BUCKET/PATH."
        )
    return root


def read_parameters(texts: Sequence[str], package: Package) -> dict[str, Any]:
    """Reads `--param` texts by the types that the pipeline gives its parameters.

    Args:
        texts: `NAME=VALUE` each.
        package: The pipeline.

    Returns:
        Values as the server takes them.

    Raises:
        InputError: A name is unknown, or a value does not fit.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise InputError(f"--param {text!r} must be NAME=VALUE, for example max_bad_fraction=0.05.")
        if name not in package.parameters:
            raise InputError(f"The pipeline has no parameter {name!r}.{nearest(name, package.parameters)}")
        if name in values:
            raise InputError(f"--param {name} is given twice: give it once.")
        values[name] = _checked(name, _typed(name, value, package.parameters[name]["parameterType"]))
    return values


def _typed(name: str, text: str, kind: str) -> Any:
    try:
        if kind == "NUMBER_DOUBLE" and math.isfinite(float(text)):
            return float(text)
        if kind == "NUMBER_INTEGER":
            return int(text)
        if kind == "BOOLEAN":
            return {"true": True, "false": False}[text.lower()]
        if kind in {"LIST", "STRUCT"} and isinstance(json.loads(text), list if kind == "LIST" else dict):
            return json.loads(text)
        if kind == "STRING":
            return text
    except (KeyError, ValueError):
        pass
    raise InputError(f"--param {name}={text}: it must be {_TYPES.get(kind, kind)}.")


def _checked(name: str, value: Any) -> Any:
    """Checks what a setting stands behind by that setting's rules."""
    if name == "reuse" and value not in {"true", "false"}:
        raise InputError(f"--param reuse={value}: it must be true or false.")
    if name == "source":
        return _checked_source(value)
    if name in {"max_bad_fraction", "max_class_shift"}:
        try:
            DataSettings.model_validate({name: value})
        except ValidationError as error:
            raise InputError(f"--param {name}={value}: {_expected(error)}.") from None
    return value


def _checked_source(text: str) -> str:
    """Returns a source in the very form that the compiled pipeline has it in, which the caches compare."""
    try:
        kind = json.loads(text)["kind"]
        details = {key: value for key, value in json.loads(text).items() if key != "kind"}
        settings = DataSettings.model_validate(
            {"source": kind, **(details if kind == "folder" else {str(kind): details})}
        )
    except ValidationError as error:
        raise InputError(f"--param source={text}: {_expected(error)}.") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            f"--param source={text}: it must be JSON such as "
            """{"kind": "folder", "folder": "/data"} or {"kind": "sample", "count": 1000, "seed": 0}."""
        ) from None
    return json.dumps(settings.source_spec, sort_keys=True)


def _expected(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "it must")
    return f"{where}: {message}" if where else message
