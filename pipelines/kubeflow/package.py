"""Reads a compiled pipeline and the `--param` values of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import FiniteFloat, Json, TypeAdapter, ValidationError

from components.errors import InputError
from components.image_example_gen.config import DataConfig
from pipelines.settings.errors import did_you_mean, format_validation_error
from pipelines.user import login_name

OVERRIDE = "override"
SCHEMA = "2.1.0"  # the only schema that Kubeflow Pipelines accepts

_TYPES: Mapping[str, Any] = {
    "STRING": str,
    "NUMBER_DOUBLE": FiniteFloat,
    "NUMBER_INTEGER": int,
    "BOOLEAN": bool,
    "LIST": Json[list[Any]],
    "STRUCT": Json[dict[str, Any]],
}


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        path: The file.
        name: Name of the pipeline.
        version: Name of this version, derived from the file's content.
        parameters: The parameters that a run may set: name → type, such as `NUMBER_DOUBLE`.
        pipeline_root: Default pipeline root; None if the file has none.
        tasks: Names of the tasks in topological order.
        mounts: Mount paths of the volumes that every task has.
    """

    path: Path
    name: str
    version: str
    parameters: Mapping[str, str]
    pipeline_root: str | None
    tasks: Sequence[str]
    mounts: Sequence[str]


def read_package(path: Path) -> Package:
    """Reads a compiled pipeline; the server validates the specification itself.

    Args:
        path: A `.yaml` file of two documents: the pipeline and its Kubernetes settings.

    Raises:
        InputError: The file cannot be read or is not a compiled pipeline.
    """
    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(f"The file {path} must end in .yaml or .yml: KFP accepts no other pipeline files.")
    try:
        content = path.read_bytes()
        spec, platform = yaml.safe_load_all(content)
        parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        tasks = spec["root"]["dag"]["tasks"]
        waits_for = {name: sorted(tasks[name].get("dependentTasks", ())) for name in sorted(tasks)}
        executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
        mounts = [{mount["mountPath"] for mount in executor.get("pvcMount", ())} for executor in executors]
        if spec["schemaVersion"] != SCHEMA:
            raise ValueError
        return Package(
            path=path,
            name=spec["pipelineInfo"]["name"],
            version=f"sha256-{hashlib.sha256(content).hexdigest()[:16]}",
            parameters={name: definition["parameterType"] for name, definition in parameters.items()},
            pipeline_root=spec.get("defaultPipelineRoot"),
            tasks=tuple(TopologicalSorter(waits_for).static_order()),
            mounts=sorted(set.intersection(*mounts)),
        )
    except OSError as error:
        raise InputError(
            f"The file {path} cannot be read ({error.strerror}): create it with "
            f"catsdogs compile --output {path}."
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        raise InputError(
            f"The file {path} is not a compiled pipeline of schema {SCHEMA} with Kubernetes settings: "
            "create it with catsdogs compile."
        ) from None


def read_parameters(texts: Sequence[str], package: Package) -> dict[str, Any]:
    """Parses `--param` options according to the types of the pipeline's parameters.

    Args:
        texts: `NAME=VALUE` strings.
        package: The compiled pipeline.

    Returns:
        The parameter values in the form that the server accepts.

    Raises:
        InputError: A name is unknown, or a value does not match its type or the setting that it replaces.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise InputError(f"--param {text!r} must be NAME=VALUE, for example max_rejected_fraction=0.05.")
        if name not in package.parameters:
            raise InputError(
                f"The pipeline has no parameter {name!r}.{did_you_mean(name, package.parameters)}"
            )
        if name in values:
            raise InputError(f"--param {name} is given twice: use it once.")
        try:
            values[name] = TypeAdapter(_TYPES[package.parameters[name]]).validate_python(value)
        except ValidationError as error:
            expected = error.errors()[0]["msg"].replace("Input should", "it must")
            raise InputError(f"--param {text}: {expected}.") from None
        if name == "source":
            values[name] = _parse_source(value, package.mounts)
        elif name == OVERRIDE:
            values[name] = _signed_override(value)
        elif name in DataConfig.model_fields:
            _validate_data_config(text, {name: values[name]})
    return values


def _parse_source(text: str, mounts: Sequence[str]) -> str:
    """Returns a source formatted as in the compiled pipeline, because KFP's cache compares the strings.

    Args:
        text: The source as JSON.
        mounts: Mount paths of the volumes; the source's folder must be on one of them.
    """
    try:
        details = json.loads(text)
        kind = details.pop("kind")
        if kind == "folder" and not details.get("folder"):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            f"--param source={text}: it must be JSON such as "
            """{"kind": "folder", "folder": "/data"} or {"kind": "sample", "count": 1000, "seed": 0}."""
        ) from None
    fields = {"folder": details, "sample": {"sample": details}, "tfds": {"tfds": details}}.get(str(kind), {})
    data = _validate_data_config(f"source={text}", {"source": kind, **fields})
    source = data.source_spec
    unknown = next((key for key in details if key not in source), None)
    if unknown is not None:
        raise InputError(
            f"--param source={text}: a source of kind {kind} has no {unknown!r}."
            f"{did_you_mean(unknown, source)}"
        )
    folder = {"folder": data.folder, "tfds": data.tfds.data_dir}.get(data.source)
    path = PurePosixPath(folder or "")
    is_mounted = ".." not in path.parts and any(path.is_relative_to(mount) for mount in mounts)
    if data.source != "sample" and not is_mounted:
        raise InputError(
            f"--param source={text}: {folder} is on no volume of the pipeline: choose a folder "
            f"below a mounted volume ({', '.join(mounts) or 'there is none'})."
        )
    return json.dumps(source, sort_keys=True)


def _validate_data_config(text: str, settings: Mapping[str, Any]) -> DataConfig:
    try:
        return DataConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"--param {text}: {format_validation_error(error, DataConfig)}") from None


def _signed_override(reason: str) -> str:
    """Returns an override as the gate records it: JSON with the reason, the user's name and the time."""
    if not reason.strip():
        raise InputError(
            f"--param {OVERRIDE}={reason}: the reason is empty; explain why the model should be blessed."
        )
    user = login_name("LOGNAME=NAME catsdogs submit ….")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"at": at, "by": user, "reason": reason.strip()}, ensure_ascii=False)
