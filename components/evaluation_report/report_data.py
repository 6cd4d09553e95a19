"""Collects the data for the page and the model card from the artifacts of a run."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import logging
import platform
import posixpath
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import tensorflow as tf
import yaml
from tfx import types
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components import tfma_metrics
from components.evaluation_report import data_summary, prediction_metrics
from components.evaluation_report.json_values import JsonObject, number, replace_nan
from components.prediction_table import table as prediction_table
from components.quality_gate import verdict as quality_gate
from components.statistics import Statistics

_LIBRARIES = ("tfx", "tensorflow", "tensorflow-model-analysis", "keras", "catsdogs")
_MIN_SLICE_IMAGES = 30

_Read = TypeVar("_Read")
_log = logging.getLogger(__name__)


def collect_report_data(
    inputs: Mapping[str, types.Artifact], *, settings: str, pipeline_name: str, class_names: tuple[str, str]
) -> JsonObject:
    """Returns the report data of a run as a JSON object.

    A part that cannot be read is None, and a warning is logged.

    Args:
        inputs: The artifacts, keyed by the component's input names.
        settings: The resolved settings as YAML.
        pipeline_name: Name of the pipeline and its model.
        class_names: Names of the classes with labels 0 and 1.
    """
    parsed: JsonObject = yaml.safe_load(settings) or {}
    rules = parsed.get("evaluation") or {}
    table = prediction_table.read(inputs["predictions"].uri)
    report: JsonObject = {
        "pipeline": pipeline_name,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": _read_or_none("verdict", lambda: _verdict(inputs["blessing"])),
        **prediction_metrics.collect(table, rules.get("min_slice_images", _MIN_SLICE_IMAGES)),
        "class_names": list(class_names),
        "limits": {name: value for name, value in rules.items() if isinstance(value, int | float | str)},
        "tfma": _read_or_none("TFMA's metrics", lambda: _tfma(inputs["evaluation"], class_names)),
        "history": _read_or_none("training history", lambda: _json(inputs["model_run"], "history.json")),
        "serving": _read_or_none("serving check report", lambda: _serving(inputs["serving_check"])),
        "model": {
            "id": table.model_id,
            "uri": table.model_uri,
            "bytes": _read_or_none("model size", lambda: _size(inputs["model"])),
        },
        "data": _data(inputs),
        "settings": settings,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}},
        "lineage": [_lineage(name, artifact) for name, artifact in inputs.items()],
    }
    _use_gate_comparisons(report["verdict"], report["comparisons"])
    return report


def _read_or_none(name: str, read: Callable[[], _Read]) -> _Read | None:
    """Returns the result of `read`, or None with a warning if the input is missing or malformed."""
    try:
        return read()
    except (
        OSError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        csv.Error,
        tf.errors.OpError,
    ) as error:
        _log.warning("The report omits the %s because it could not be read: %s", name, error)
        return None


def _verdict(blessing: types.Artifact) -> JsonObject | None:
    verdict = quality_gate.read(blessing.uri)
    return None if verdict is None else replace_nan(verdict.to_dict())


def _use_gate_comparisons(verdict: JsonObject | None, comparisons: list[JsonObject]) -> None:
    """Replaces comparison results with those of the quality gate, which account for the allowed loss."""
    gate_comparisons = (verdict or {}).get("comparisons", {})
    for comparison in comparisons:
        gate_comparison = gate_comparisons.get(comparison["baseline"])
        if gate_comparison:
            comparison.update({name: gate_comparison[name] for name in ("difference", "p_value", "worse")})


def _tfma(evaluation: types.Artifact, class_names: tuple[str, str]) -> dict[str, float | None] | None:
    """Returns the overall metrics of TFMA, or None if it evaluated no examples."""
    whole = tfma_metrics.read(evaluation.uri).whole
    metrics = {name: number(value) for name, value in whole.figures(class_names).items()}
    return metrics if whole.examples else None


def _serving(blessing: types.Artifact) -> JsonObject:
    report = _json(blessing, "report.json")
    return {name: report.get(name) for name in ("blessed", "problems", "server", "limits", "protocols")}


def _data(inputs: Mapping[str, types.Artifact]) -> JsonObject:
    splits = _read_or_none("data statistics", lambda: _statistics(inputs["statistics"])) or {}
    rejected = inputs["rejected"].uri
    return {
        **data_summary.summarize_statistics(splits),
        "verdict": _read_or_none(
            "data validation result",
            lambda: data_summary.summarize_verdict(_json(inputs["data_verdict"], "verdict.json")),
        ),
        "rejected": _read_or_none("counts of rejected images", lambda: data_summary.count_rejected(rejected)),
        "rejected_files": _read_or_none(
            "list of rejected images", lambda: data_summary.list_rejected_files(rejected)
        ),
    }


def _statistics(artifact: types.Artifact) -> dict[str, Statistics]:
    return {
        split: stats_artifact_utils.load_statistics(artifact, split).proto()
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }


def _size(model: types.Artifact) -> int:
    root = path_utils.serving_model_path(model.uri)
    return sum(
        tf.io.gfile.stat(posixpath.join(folder, file)).length
        for folder, _, files in tf.io.gfile.walk(root)
        for file in files
    )


def _json(artifact: types.Artifact, name: str) -> Any:
    with tf.io.gfile.GFile(posixpath.join(artifact.uri, name)) as file:
        return replace_nan(json.load(file))


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _lineage(name: str, artifact: types.Artifact) -> JsonObject:
    created_ms = artifact.mlmd_artifact.create_time_since_epoch  # 0 without a metadata store
    return {
        "input": name,
        "type": artifact.type_name,
        "id": artifact.id,
        "uri": artifact.uri,
        "made": datetime.fromtimestamp(created_ms / 1000, UTC).isoformat(timespec="seconds")
        if created_ms
        else None,
    }
