"""Reads the metrics over all examples from what TFMA's Evaluator wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow_model_analysis as tfma

# What Keras' and TFMA's names for them come down to, without case and underscores.
_SHORT = {"binaryaccuracy": "accuracy", "accuracy": "accuracy", "auc": "auc", "binarycrossentropy": "loss"}

_COUNT = "examplecount"
_BASELINE = "baseline"


def read(folder: Path) -> tuple[dict[str, float], dict[str, float] | None]:
    """Returns the candidate's metrics under their plain names, and the baseline's; None without a baseline.

    Args:
        folder: Of the ModelEvaluation.
    """
    names = [spec.name for spec in tfma.load_eval_result(str(folder)).config.model_specs]
    if len(names) < 2:
        return _whole(folder, None), None
    candidate = next((name for name in names if name != _BASELINE), "")
    return _whole(folder, candidate), _whole(folder, _BASELINE)


def short(values: Mapping[str, float]) -> dict[str, float]:
    """Returns accuracy, auc, loss and the number of examples, as far as they were measured."""
    found = {name: values[plain_name] for plain_name, name in _SHORT.items() if plain_name in values}
    return {**found, **({"examples": values[_COUNT]} if _COUNT in values else {})}


def label(name: str) -> str:
    """Returns what a metric is called where people read it."""
    return _SHORT.get(plain(name), name)


def plain(name: str) -> str:
    """Returns the name of a metric without case and underscores."""
    return name.replace("_", "").lower()


def _whole(folder: Path, model_name: str | None) -> dict[str, float]:
    """Returns the metrics over all examples, under their plain names."""
    result = tfma.load_eval_result(str(folder), model_name=model_name)
    return {
        plain(name): value["doubleValue"]
        for slice_key, outputs in result.slicing_metrics
        if slice_key == ()
        for sub_keys in outputs.values()
        for metrics in sub_keys.values()
        for name, value in metrics.items()
        if "doubleValue" in value
    }
