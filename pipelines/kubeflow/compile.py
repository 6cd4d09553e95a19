"""`catsdogs compile`: the pipeline as a file that Kubeflow Pipelines runs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from kfp import components as kfp_components

from components.errors import InputError
from pipelines import baseline_nodes, pipeline
from pipelines.kubeflow import checks, lookups, platform, spec
from pipelines.settings.tree import Settings

# PyYAML knows YAML 1.1 as Python has it; what begins like a number is quoted, whatever follows.
_NO_TEXT_IN_GO = re.compile(
    r"[-+]?\.?[0-9]|[-+]?\.(inf|nan)$|(y|n|yes|no|on|off|true|false|null|~|<<)$", re.I
)

# The order in which a person reads; the rest follows by name.
_FIRST = ("pipelineInfo", "schemaVersion", "sdkVersion", "defaultPipelineRoot", "root")


def compile_pipeline(settings: Settings) -> str:
    """Returns the pipeline as YAML: the specification, then what Kubernetes is told beside it.

    The same settings and code give the same bytes.

    Raises:
        InputError: The settings do not fit a run on Kubeflow.
    """
    checks.check(settings)
    built = pipeline.build(settings, baseline_nodes.component_node)
    document = spec.of_tfx(built, settings)
    spec.name_pipeline_root(document, settings)
    spec.open_parameters(document, settings)
    lookups.add(document, settings)
    spec.never_cache_push(document)
    spec.set_arguments(document, built, settings)
    spec.fill_defaults(document)
    spec.set_resources(document, settings)
    spec.set_retries(document, settings)
    text = _yaml(document, platform.of(document, settings.kubeflow))
    kfp_components.load_component_from_text(text)
    return text


def _yaml(document: spec.Spec, platform: dict[str, Any]) -> str:
    rest = sorted(document.keys() - set(_FIRST))
    ordered = {key: _sorted(document[key]) for key in (*_FIRST, *rest)}
    documents = [ordered, _sorted(platform)]
    return _head(document) + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=110)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that Go's YAML readers would take for something else, such as 8e9, 0o17 or y."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if _NO_TEXT_IN_GO.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _head(document: spec.Spec) -> str:
    parameters = document["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameters[name]["defaultValue"] for name in sorted(parameters)}
    lines = [
        f"The pipeline {document['pipelineInfo']['name']} for Kubeflow Pipelines, made by catsdogs compile.",
        "Its runs take these parameters (catsdogs submit --param NAME=VALUE), otherwise with these values:",
        *(f"  {name}: {value}" for name, value in defaults.items()),
        "The second document is for Kubernetes: volumes, secrets, nodes, time-outs.",
    ]
    return "".join(f"# {line}\n" for line in lines)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def write(text: str, output: Path) -> None:
    """Writes the file, beside and then renamed.

    Raises:
        InputError: It cannot be written there.
    """
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(output)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"{output} cannot be written: {error.strerror or error}.") from error
