"""The parameters of a run: `--param NAME=VALUE`, by the types and the rules of what they stand for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from components.errors import InputError
from pipelines.data_settings import DataSettings, SampleSettings, TfdsSettings
from pipelines.kubeflow.package import Package
from pipelines.person import login_name
from pipelines.settings_errors import nearest, sentence

OVERRIDE = "override"

_TYPES = {
    "STRING": "a text",
    "NUMBER_DOUBLE": "a number",
    "NUMBER_INTEGER": "a whole number",
    "BOOLEAN": "true or false",
    "LIST": "a JSON list",
    "STRUCT": "a JSON object",
}
_SOURCES = {
    "folder": ("folder",),
    "sample": tuple(SampleSettings.model_fields),
    "tfds": tuple(TfdsSettings.model_fields),
}


def read(texts: Sequence[str], package: Package) -> dict[str, Any]:
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
        values[name] = _typed(name, value, package.parameters[name]["parameterType"])
        _check(name, value, values[name])
        if name == "source":
            values[name] = _checked_source(value, package)
        if name == OVERRIDE:
            values[name] = _signed(value)
    return values


def makes_another_model(values: Mapping[str, Any]) -> str | None:
    """Returns what of a run's values keeps it from coming to the model that somebody has looked at.

    Args:
        values: As the server takes them.

    Returns:
        None where it comes to the model that the pipeline comes to as it was compiled.
    """
    return next(
        (name for name, value in values.items() if name != OVERRIDE and (name, value) != ("reuse", "true")),
        None,
    )


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


def _check(name: str, text: str, value: Any) -> None:
    """Checks what a setting stands behind by that setting's rules."""
    if name == "reuse" and value not in {"true", "false"}:
        raise InputError(f"--param reuse={text}: it must be true or false.")
    if name in {"max_bad_fraction", "max_class_shift"}:
        try:
            DataSettings.model_validate({name: value})
        except ValidationError:
            raise InputError(
                f"--param {name}={text}: it must be a share from 0 to 1, such as 0.05."
            ) from None


def _checked_source(text: str, package: Package) -> str:
    """Returns a source in the very form that the compiled pipeline has it in, which the caches compare."""
    try:
        details = json.loads(text)
    except ValueError:
        details = None
    if not isinstance(details, dict) or not isinstance(details.get("kind"), str):
        raise InputError(
            f"--param source={text}: it must be JSON such as "
            """{"kind": "folder", "folder": "/data"} or {"kind": "sample", "count": 1000, "seed": 0}."""
        )
    kind = details.pop("kind")
    if kind not in _SOURCES:
        raise InputError(f"--param source={text}: there is no kind {kind!r}.{nearest(kind, _SOURCES)}")
    unknown = next((key for key in details if key not in _SOURCES[kind]), None)
    if unknown is not None:
        raise InputError(
            f"--param source={text}: a source of the kind {kind} has no {unknown!r}."
            f"{nearest(unknown, _SOURCES[kind])}"
        )
    if kind == "folder" and details.get("folder") is None:
        raise InputError(f'--param source={text}: it names no folder; add one, as in "folder": "/data".')
    try:
        data = DataSettings.model_validate(
            {"source": kind, **(details if kind == "folder" else {kind: details})}
        )
    except ValidationError as error:
        raise InputError(f"--param source={text}: {sentence(error, DataSettings)}") from None
    if kind == "folder":
        _check_on_volume(text, "folder", data.folder, package)
    if kind == "tfds":
        _check_on_volume(text, "data_dir", data.tfds.data_dir, package)
    return json.dumps(data.source_spec, sort_keys=True)


def _signed(reason: str) -> str:
    """Returns an override as the gate records it: with who gives it, and when."""
    if not reason.strip():
        raise InputError(
            f"--param {OVERRIDE}={reason}: it must say why the model is to be blessed all the same."
        )
    person = login_name("LOGNAME=NAME catsdogs submit ….")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"at": at, "by": person, "reason": reason.strip()}, ensure_ascii=False)


def _check_on_volume(text: str, key: str, path: Path | None, package: Package) -> None:
    place = PurePosixPath(path or "")
    if ".." in place.parts or not any(place.is_relative_to(mount) for mount in package.mounts):
        raise InputError(
            f"--param source={text}: {key} is {path}, which is on no volume of the pipeline: name a folder "
            f"below one of them (mounted are: {', '.join(package.mounts) or 'none'})."
        )
