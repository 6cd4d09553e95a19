"""From the artifacts of a run to its facts: everything that the page and the model card say."""

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
from components.evaluation_report import data_facts, prediction_facts
from components.evaluation_report.json_values import Facts, number, without_nan
from components.prediction_table import table as prediction_table
from components.quality_gate import verdict as quality_gate
from components.statistics import Statistics

_LIBRARIES = ("tfx", "tensorflow", "tensorflow-model-analysis", "keras", "catsdogs")
_MIN_SLICE_PICTURES = 30

_Read = TypeVar("_Read")
_log = logging.getLogger(__name__)


def collect(
    inputs: Mapping[str, types.Artifact], *, settings: str, pipeline_name: str, class_names: tuple[str, str]
) -> Facts:
    """Returns all that is known of a run, ready for JSON; what cannot be read is None, and logged.

    Args:
        inputs: The artifacts by the names of the component's inputs.
        settings: The resolved settings as YAML.
        pipeline_name: What the pipeline and its model are called.
        class_names: The label's two values.
    """
    chosen: Facts = yaml.safe_load(settings) or {}
    rules = chosen.get("evaluation") or {}
    table = prediction_table.read(inputs["predictions"].uri)
    facts: Facts = {
        "pipeline": pipeline_name,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": _tried("verdict", lambda: _verdict(inputs["blessing"])),
        **prediction_facts.collect(table, rules.get("min_slice_images", _MIN_SLICE_PICTURES)),
        "class_names": list(class_names),
        "limits": {name: value for name, value in rules.items() if isinstance(value, int | float | str)},
        "tfma": _tried("TFMA's metrics", lambda: _tfma(inputs["evaluation"], class_names)),
        "history": _tried("history of the training", lambda: _json(inputs["model_run"], "history.json")),
        "serving": _tried("report of the serving check", lambda: _serving(inputs["serving_check"])),
        "model": {
            "id": table.model_id,
            "uri": table.model_uri,
            "bytes": _tried("size of the model", lambda: _size(inputs["model"])),
        },
        "data": _data(inputs),
        "settings": settings,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}},
        "lineage": [_lineage(name, artifact) for name, artifact in inputs.items()],
    }
    _take_over(facts["verdict"], facts["comparisons"])
    return facts


def _tried(what: str, read: Callable[[], _Read]) -> _Read | None:
    """Returns what is read; None where it is missing or broken, for which no report is held back."""
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
        _log.warning("The report goes without the %s, which cannot be read: %s", what, error)
        return None


def _verdict(blessing: types.Artifact) -> Facts | None:
    found = quality_gate.read(blessing.uri)
    return None if found is None else without_nan(found.to_dict())


def _take_over(verdict: Facts | None, comparisons: list[Facts]) -> None:
    """Puts the gate's own comparison in the place of ours, which knows nothing of the tolerated loss."""
    judged = (verdict or {}).get("comparisons", {})
    for comparison in comparisons:
        found = judged.get(comparison["baseline"])
        if found:
            comparison.update({name: found[name] for name in ("difference", "p_value", "worse")})


def _tfma(evaluation: types.Artifact, class_names: tuple[str, str]) -> dict[str, float | None] | None:
    """Returns what TFMA measured; None where it measured nothing."""
    whole = tfma_metrics.read(evaluation.uri).whole
    measured = {name: number(value) for name, value in whole.figures(class_names).items()}
    return measured if whole.examples else None


def _serving(blessing: types.Artifact) -> Facts:
    report = _json(blessing, "report.json")
    return {name: report.get(name) for name in ("blessed", "problems", "server", "limits", "protocols")}


def _data(inputs: Mapping[str, types.Artifact]) -> Facts:
    splits = _tried("statistics of the data", lambda: _statistics(inputs["statistics"])) or {}
    rejected = inputs["rejected"].uri
    return {
        **data_facts.of_statistics(splits),
        "verdict": _tried(
            "verdict on the data",
            lambda: data_facts.of_verdict(_json(inputs["data_verdict"], "verdict.json")),
        ),
        "rejected": _tried("counts of what was set aside", lambda: data_facts.of_rejected(rejected)),
        "rejected_files": _tried("list of what was set aside", lambda: data_facts.rejected_files(rejected)),
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
        return without_nan(json.load(file))


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _lineage(name: str, artifact: types.Artifact) -> Facts:
    made = artifact.mlmd_artifact.create_time_since_epoch  # 0 where it comes from no metadata store
    return {
        "input": name,
        "type": artifact.type_name,
        "id": artifact.id,
        "uri": artifact.uri,
        "made": datetime.fromtimestamp(made / 1000, UTC).isoformat(timespec="seconds") if made else None,
    }
