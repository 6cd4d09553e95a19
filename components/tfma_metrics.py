"""Reads what TFMA's Evaluator measured of the prediction table, set up by `pipelines.eval_config`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma

_Values = Mapping[str, Any]  # as TFMA's protocol buffers look in JSON, where zeros may be left out


@dataclass(frozen=True, eq=False)
class Metrics:
    """What was measured of some pictures; NaN where a figure does not exist, as the AUC of one class.

    Attributes:
        examples: How many pictures.
        accuracy: Share of right answers; the second class is answered from a probability of 0.5 on.
        auc: Area under the ROC curve.
        loss: Log loss, in nats.
        precision: Of either label.
        recall: Of either label.
        f1: Of either label.
        confusion: Pictures by truth and answer, int64 [2, 2].
        calibration_error: Expected calibration error over ten buckets (Naeini et al. 2015), 0 to 1.
    """

    examples: int
    accuracy: float
    auc: float
    loss: float
    precision: tuple[float, float]
    recall: tuple[float, float]
    f1: tuple[float, float]
    confusion: np.ndarray
    calibration_error: float

    def figures(self, class_names: tuple[str, str]) -> dict[str, float]:
        """Returns the figures by the names that `components.model_metrics.measure` gives them."""
        by_class = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {
            "accuracy": self.accuracy,
            "auc": self.auc,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
        } | {
            f"{name}/{class_name}": value
            for name, values in by_class.items()
            for class_name, value in zip(class_names, values, strict=True)
        }

    def short(self) -> dict[str, float]:
        """Returns accuracy, auc, loss and the number of examples, as far as they exist."""
        figures = {"accuracy": self.accuracy, "auc": self.auc, "loss": self.loss}
        return {name: value for name, value in figures.items() if not math.isnan(value)} | {
            "examples": self.examples
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that was measured.

    Attributes:
        whole: Of all pictures.
        slices: Of those with a value of a feature, by feature and value.
    """

    whole: Metrics
    slices: Mapping[str, Mapping[str, Metrics]]


def read(folder: str | Path) -> Evaluation:
    """Reads a ModelEvaluation; where there were no pictures, TFMA measured nothing, and nothing exists."""
    result = tfma.load_eval_result(str(folder))
    plots = {slice_key: _values(outputs) for slice_key, outputs in result.plots}
    whole = _metrics({}, {})
    slices: dict[str, dict[str, Metrics]] = {}
    for slice_key, outputs in result.slicing_metrics:
        metrics = _metrics(_values(outputs), plots.get(slice_key, {}))
        if slice_key == ():
            whole = metrics
        else:
            [(feature, value)] = slice_key
            slices.setdefault(feature, {})[value] = metrics
    return Evaluation(whole, slices)


def _values(outputs: Mapping[str, Mapping[str, _Values]]) -> _Values:
    """Returns what is told of the one output of the one model."""
    [by_sub_key] = outputs.values()
    [values] = by_sub_key.values()
    return values


def _metrics(values: _Values, plots: _Values) -> Metrics:
    matrices = values.get("confusion_matrix_at_thresholds", {}).get("confusionMatrixAtThresholds", {})
    [matrix] = matrices.get("matrices", [{}])
    confusion = np.array(
        [
            [matrix.get("trueNegatives", 0), matrix.get("falsePositives", 0)],
            [matrix.get("falseNegatives", 0), matrix.get("truePositives", 0)],
        ]
    ).astype(np.int64)
    there, answered = confusion.sum(axis=1), confusion.sum(axis=0)
    wrong = confusion[0, 1] + confusion[1, 0]

    def figure(name: str, exists: Any = True) -> float:
        return float(values[name]["doubleValue"]) if exists and name in values else math.nan

    return Metrics(
        examples=int(confusion.sum()),
        accuracy=figure("binary_accuracy"),
        auc=figure("auc", there.all()),
        loss=figure("binary_crossentropy"),
        precision=(figure("npv", answered[0]), figure("precision", answered[1])),
        recall=(figure("specificity", there[0]), figure("recall", there[1])),
        f1=(
            2 * confusion[0, 0] / (2 * confusion[0, 0] + wrong) if there[0] or answered[0] else math.nan,
            figure("f1_score", there[1] or answered[1]),
        ),
        confusion=confusion,
        calibration_error=_calibration_error(plots),
    )


def _calibration_error(plots: _Values) -> float:
    """Returns by how much sums of probabilities and of labels differ; NaN where nothing was measured."""
    found = plots.get("calibrationHistogramBuckets", {}).get("buckets", [])
    if not found:
        return math.nan
    names = ("totalWeightedRefinedPrediction", "totalWeightedLabel", "numWeightedExamples")
    sums = np.array([[bucket[name] for name in names] for bucket in found], np.float64)
    sums[-2] += sums[-1]  # TFMA makes a bucket of its own of a probability of just 1
    said, labels, counts = sums[:-1].T
    return float(np.abs(said - labels).sum() / counts.sum())
