"""A compiled pipeline, as `catsdogs compile` writes it, and the parameters of a run of it."""

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
from pipelines.settings.errors import nearest, sentence
from pipelines.user import login_name

OVERRIDE = "override"
SCHEMA = "2.1.0"  # the only one that Kubeflow Pipelines takes

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
        path: Its file.
        name: Name of the pipeline.
        version: Name of this version of it: the same for the same bytes.
        parameters: The parameters that a run may set: name → type, such as `NUMBER_DOUBLE`.
        pipeline_root: Where artifacts go unless another place is named; None when the file names none.
        steps: Names of the tasks, each after those that it waits for.
        mounts: Where every step finds a volume.
    """

    path: Path
    name: str
    version: str
    parameters: Mapping[str, str]
    pipeline_root: str | None
    steps: Sequence[str]
    mounts: Sequence[str]


def read(path: Path) -> Package:
    """Reads a compiled pipeline; the server says whether it is valid as a whole.

    Args:
        path: A `.yaml` file of two documents: the pipeline and its Kubernetes settings, without which no
            step would see a volume.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(f"The file {path} must end in .yaml: KFP knows a pipeline by that.")
    try:
        content = path.read_bytes()
        spec, platform = yaml.safe_load_all(content)
        parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        tasks = spec["root"]["dag"]["tasks"]
        waits_for = {name: sorted(tasks[name].get("dependentTasks", ())) for name in sorted(tasks)}
        executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
        mounts = [{mount["mountPath"] for mount in one.get("pvcMount", ())} for one in executors]
        if spec["schemaVersion"] != SCHEMA:
            raise ValueError
        return Package(
            path=path,
            name=spec["pipelineInfo"]["name"],
            version=f"sha256-{hashlib.sha256(content).hexdigest()[:16]}",
            parameters={name: definition["parameterType"] for name, definition in parameters.items()},
            pipeline_root=spec.get("defaultPipelineRoot"),
            steps=tuple(TopologicalSorter(waits_for).static_order()),
            mounts=sorted(set.intersection(*mounts)),
        )
    except OSError as error:
        raise InputError(
            f"The file {path} cannot be read ({error.strerror}): catsdogs compile --output {path} makes it."
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        raise InputError(
            f"The file {path} holds no compiled pipeline of schema {SCHEMA} with its Kubernetes settings: "
            "make it with catsdogs compile."
        ) from None


def read_parameters(texts: Sequence[str], package: Package) -> dict[str, Any]:
    """Reads `--param` texts by the types that the pipeline gives its parameters.

    Args:
        texts: `NAME=VALUE` each.
        package: The pipeline.

    Returns:
        Values as the server takes them.

    Raises:
        InputError: A name is unknown, or a value does not fit its type or the setting that it replaces.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise InputError(f"--param {text!r} must be NAME=VALUE, for example max_rejected_fraction=0.05.")
        if name not in package.parameters:
            raise InputError(f"The pipeline has no parameter {name!r}.{nearest(name, package.parameters)}")
        if name in values:
            raise InputError(f"--param {name} is given twice: give it once.")
        try:
            values[name] = TypeAdapter(_TYPES[package.parameters[name]]).validate_python(value)
        except ValidationError as error:
            expected = error.errors()[0]["msg"].replace("Input should", "it must")
            raise InputError(f"--param {text}: {expected}.") from None
        if name == "source":
            values[name] = _source(value, package.mounts)
        elif name == OVERRIDE:
            values[name] = _signed(value)
        elif name in DataConfig.model_fields:
            _data_settings(text, {name: values[name]})
    return values


def _source(text: str, mounts: Sequence[str]) -> str:
    """Returns a source exactly as the compiled pipeline writes it, because KFP's cache compares the texts.

    Args:
        text: JSON.
        mounts: Where the pods have volumes: what they read must lie there.
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
    chosen = {"folder": details, "sample": {"sample": details}, "tfds": {"tfds": details}}.get(str(kind), {})
    data = _data_settings(f"source={text}", {"source": kind, **chosen})
    source = data.source_spec
    unknown = next((key for key in details if key not in source), None)
    if unknown is not None:
        raise InputError(
            f"--param source={text}: a source of the kind {kind} has no {unknown!r}."
            f"{nearest(unknown, source)}"
        )
    read = {"folder": data.folder, "tfds": data.tfds.data_dir}.get(data.source)
    place = PurePosixPath(read or "")
    is_mounted = ".." not in place.parts and any(place.is_relative_to(mount) for mount in mounts)
    if data.source != "sample" and not is_mounted:
        raise InputError(
            f"--param source={text}: it reads {read}, which is on no volume of the pipeline: name a folder "
            f"below one of them (mounted are: {', '.join(mounts) or 'none'})."
        )
    return json.dumps(source, sort_keys=True)


def _data_settings(text: str, settings: Mapping[str, Any]) -> DataConfig:
    try:
        return DataConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"--param {text}: {sentence(error, DataConfig)}") from None


def _signed(reason: str) -> str:
    """Returns an override as the gate records it: with who gives it, and when."""
    if not reason.strip():
        raise InputError(f"--param {OVERRIDE}={reason}: give the reason why the model is to be blessed.")
    person = login_name("LOGNAME=NAME catsdogs submit ….")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"at": at, "by": person, "reason": reason.strip()}, ensure_ascii=False)
