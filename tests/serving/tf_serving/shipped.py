"""Loads and validates the configuration files of TensorFlow Serving."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pydantic
import yaml

ROOT = Path(__file__).resolve().parents[3]
HERE = ROOT / "serving" / "tf_serving"
MANIFESTS = sorted((HERE / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.34"
Misfit = kubernetes_validate.ValidationError


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def manifests() -> list[dict[str, Any]]:
    return [
        one
        for path in [*MANIFESTS, HERE / "kubernetes/bucket/service_account.yaml"]
        for one in documents(path)
    ]


def manifest(kind: str, name: str = "catsdogs") -> dict[str, Any]:
    return next(one for one in manifests() if (one["kind"], one["metadata"]["name"]) == (kind, name))


def validate(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def compose() -> dict[str, Any]:
    return yaml.safe_load((HERE / "compose.yaml").read_text())


def kserve() -> dict[str, Any]:
    [document] = documents(HERE / "kserve.yaml")
    return document


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Returns a copy in which a field at a dotted path is renamed (a text) or has another value."""
    broken = copy.deepcopy(document)
    *parents, last = path.split(".")
    node: Any = broken
    for step in parents:
        node = node[int(step)] if step.isdecimal() else node[step]
    if isinstance(value, str):
        node[value] = node.pop(last)
    else:
        node[last] = value
    return broken
