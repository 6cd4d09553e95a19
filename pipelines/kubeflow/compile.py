"""Compiles the pipeline into a YAML file for Kubeflow Pipelines."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from kfp import components as kfp_components

from components.errors import InputError
from pipelines import pipeline
from pipelines.kubeflow import checks, lookups, platform, spec
from pipelines.settings.tree import Settings

# Texts that Go's YAML readers may not read as strings: everything that starts like a number is quoted.
_NOT_A_STRING_IN_GO = re.compile(
    r"[-+]?\.?[0-9]|[-+]?\.(inf|nan)$|(y|n|yes|no|on|off|true|false|null|~|<<)$", re.I
)

# These keys come first, in the order that reads best; the others follow alphabetically.
_FIRST_KEYS = ("pipelineInfo", "schemaVersion", "sdkVersion", "defaultPipelineRoot", "root")


def compile_pipeline(settings: Settings) -> str:
    """Returns the pipeline as two YAML documents: the specification and the Kubernetes settings.

    The same settings and code give the same bytes.

    Raises:
        InputError: The pipeline cannot run on Kubeflow with these settings.
    """
    checks.check_settings(settings)
    built = pipeline.build(settings)
    document = spec.build_spec(built, settings, lookups.parameters_from_lookup())
    lookups.add_lookup_task(document, settings)
    text = _yaml(document, platform.build_platform_config(document, settings.kubeflow))
    kfp_components.load_component_from_text(text)
    return text


def _yaml(document: spec.Spec, platform: dict[str, Any]) -> str:
    rest = sorted(document.keys() - set(_FIRST_KEYS))
    ordered = {key: _sorted(document[key]) for key in (*_FIRST_KEYS, *rest)}
    documents = [ordered, _sorted(platform)]
    return _header(document) + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=110)


class _Dumper(yaml.SafeDumper):
    """Quotes strings that Go's YAML readers would read as another type, such as 8e9, 0o17 or y."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if _NOT_A_STRING_IN_GO.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _header(document: spec.Spec) -> str:
    parameters = document["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameters[name]["defaultValue"] for name in sorted(parameters)}
    lines = [
        f"The pipeline {document['pipelineInfo']['name']} for Kubeflow Pipelines, from catsdogs compile.",
        "Parameters of a run (catsdogs submit --param NAME=VALUE) and their defaults:",
        *(f"  {name}: {value}" for name, value in defaults.items()),
        "The second document holds the Kubernetes settings: volumes, secrets, nodes, timeouts.",
    ]
    return "".join(f"# {line}\n" for line in lines)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def write(text: str, output: Path) -> None:
    """Writes the file atomically: to a temporary file, which is then renamed.

    Raises:
        InputError: The file cannot be written.
    """
    temporary_path = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        temporary_path.write_text(text, encoding="utf-8")
        temporary_path.replace(output)
    except OSError as error:
        temporary_path.unlink(missing_ok=True)
        raise InputError(f"{output} cannot be written: {error.strerror or error}.") from error
