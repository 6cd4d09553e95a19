"""What the prediction table says: figures, comparisons, curves, slices, the pictures worth a look."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np

from components import model_metrics
from components.evaluation_report.json_values import Facts, figure, number
from components.model_metrics import Curve, Estimate
from components.prediction_table.columns import PERTURBATIONS, SLICES
from components.prediction_table.table import PredictionTable

GALLERY_PICTURES = 12  # of each kind: what a person looks through, whatever the size of the split
SLICES_SHOWN = 40  # of each feature, the largest ones: a source may have any number of folders
_CURVE_POINTS = 400
_CORNER = 1e-3  # how close to the ideal corner of a curve its points are told apart
_ANSWER = 0.5
_RANGES = ("dark", "medium", "bright", "portrait", "square", "landscape")


def collect(table: PredictionTable, min_slice_images: int) -> Facts:
    """Returns all that can be measured on the test pictures, ready for JSON.

    Args:
        table: What the models answered.
        min_slice_images: With fewer than this a slice is too small to judge.
    """
    models = {"candidate": table.probabilities, **table.baseline_probabilities}
    measured = {
        name: _measured(table.labels, probabilities, table.class_names)
        for name, probabilities in models.items()
    }
    return {
        "pictures": len(table.labels),
        "class_names": list(table.class_names),
        "headline": [
            {"name": name, **{model: figure(of_model[name]) for model, of_model in measured.items()}}
            for name in measured["candidate"]
        ],
        "comparisons": [_comparison(table, name) for name in table.baselines],
        "curves": {name: curves(table.labels, probabilities) for name, probabilities in models.items()},
        "confusion": model_metrics.confusion_matrix(table.labels, table.probabilities).tolist(),
        "slices": _slices(table, min_slice_images),
        "slices_left_out": sum(max(0, len(set(table.slices[name])) - SLICES_SHOWN) for name in SLICES),
        "gallery": _gallery(table),
        "behaviour": _behaviour(table),
        "seen_in_training": int(table.seen.sum()),
    }


def _measured(
    labels: np.ndarray, probabilities: np.ndarray, class_names: tuple[str, str]
) -> dict[str, Estimate]:
    """Returns the figures of one model; of answers that are no probabilities, the accuracy only."""
    if _are_probabilities(probabilities):
        return model_metrics.compute_metrics(labels, probabilities, class_names)
    right = model_metrics.is_correct(labels, probabilities)
    absent = dict.fromkeys(
        model_metrics.compute_metrics(np.empty(0, int), np.empty(0), class_names), model_metrics.ABSENT
    )
    return {**absent, "accuracy": model_metrics.proportion(int(right.sum()), len(right))}


def _are_probabilities(values: np.ndarray) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def curves(labels: np.ndarray, probabilities: np.ndarray) -> Facts:
    """Returns the points of ROC, precision-recall and calibration of one model, as far as it has them."""
    if not _are_probabilities(probabilities):
        labels, probabilities = labels[:0], probabilities[:0]
    return {
        "roc": _thinned(model_metrics.roc_curve(labels, probabilities), ideal_x=0.0),
        "precision_recall": _thinned(
            model_metrics.precision_recall_curve(labels, probabilities), ideal_x=1.0
        ),
        "calibration": [
            {
                "probability": number(bucket.probability),
                "share": figure(bucket.share),
                "pictures": bucket.count,
            }
            for bucket in model_metrics.calibration_curve(labels, probabilities)
        ],
    }


def _thinned(curve: Curve, ideal_x: float) -> Facts:
    """Returns at most so many points, close together where the curve comes near its ideal corner."""
    x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
    kept = np.arange(len(x))
    if len(x) > _CURVE_POINTS:
        away = np.log(np.stack([np.abs(x - ideal_x), np.abs(1 - y)]) + _CORNER)
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(away)).sum(axis=0))])
        kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], _CURVE_POINTS)))
    return {
        "x": [number(value) for value in x[kept]],
        "y": [number(value) for value in y[kept]],
        "thresholds": [number(value) for value in np.asarray(curve.thresholds, float)[kept]],
    }


def _comparison(table: PredictionTable, name: str) -> Facts:
    baseline = table.baselines[name]
    facts: Facts = {
        "baseline": name,
        "state": baseline.state,
        "model_id": baseline.model_id,
        "uri": baseline.uri,
        "reason": baseline.reason,
    }
    if name in table.baseline_probabilities and len(table.labels):
        facts |= paired(table.labels, table.probabilities, table.baseline_probabilities[name])
    return facts


def paired(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> Facts:
    """Returns what two models get right on the same pictures, and what chance says of the difference."""
    found = model_metrics.compare(labels, first, second)
    return {
        "difference": figure(found.difference),
        "only_candidate_right": found.only_candidate_right,
        "only_baseline_right": found.only_baseline_right,
        "p_value": number(found.p_value),
    }


def _slices(table: PredictionTable, min_pictures: int) -> list[Facts]:
    models = {"candidate": table.probabilities, **table.baseline_probabilities}
    right = {
        name: model_metrics.is_correct(table.labels, probabilities) for name, probabilities in models.items()
    }
    found = []
    for feature in SLICES:
        values = np.array(table.slices[feature], dtype=object)
        largest = Counter(table.slices[feature]).most_common(SLICES_SHOWN)
        for value in sorted((value for value, _ in largest), key=_by_size):
            inside = values == value
            pictures = int(inside.sum())
            found.append(
                {
                    "feature": feature,
                    "value": value,
                    "pictures": pictures,
                    "judged": pictures >= min_pictures,
                    **{
                        name: figure(model_metrics.proportion(int(of_model[inside].sum()), pictures))
                        for name, of_model in right.items()
                    },
                    "figures": {
                        name: figure(measured)
                        for name, measured in _measured(
                            table.labels[inside], table.probabilities[inside], table.class_names
                        ).items()
                    },
                }
            )
    return found


def _by_size(value: str) -> tuple[float, int, str]:
    """Sorts the names of ranges as what they name: "under 16 kB" comes before "16 to 64 kB"."""
    if value in _RANGES:
        return (_RANGES.index(value), 0, value)
    units = {"": 1.0, "k": 1e3, "M": 1e6}
    first = re.match(r"(under )?(\d+)(k|M)?\b", value)
    if first is None:
        return (math.inf, 0, value)
    return (int(first[2]) * units[first[3] or ""], 0 if first[1] else 1, value)


def _gallery(table: PredictionTable) -> Facts:
    certainty = np.abs(table.probabilities - _ANSWER)
    right = model_metrics.is_correct(table.labels, table.probabilities)
    wrong = np.flatnonzero(~right)
    mistakes = wrong[np.argsort(-certainty[wrong], kind="stable")][:GALLERY_PICTURES]
    others = np.setdiff1d(np.arange(len(right)), mistakes)
    uncertain = others[np.argsort(certainty[others], kind="stable")][:GALLERY_PICTURES]
    return {
        "wrong": len(wrong),
        "mistakes": [_picture(table, int(index)) for index in mistakes],
        "uncertain": [_picture(table, int(index)) for index in uncertain],
    }


def _picture(table: PredictionTable, index: int) -> Facts:
    probability = float(table.probabilities[index])
    answer = int(probability >= _ANSWER)
    newest = table.baseline_probabilities.get("newest")
    return {
        "file": table.filenames[index],
        "digest": table.digests[index],
        "truth": table.class_names[int(table.labels[index])],
        "answer": table.class_names[answer],
        "probability": number(probability if answer else 1 - probability),
        "newest": None if newest is None else number(newest[index] if answer else 1 - newest[index]),
    }


def _behaviour(table: PredictionTable) -> Facts:
    def measured(name: str) -> Facts:
        changed = table.changed.get(name)
        asked = np.flatnonzero(table.sampled) if changed is not None else np.empty(0, int)
        after = changed[asked] if changed is not None else np.empty(0)
        same = ((after >= _ANSWER) == (table.probabilities[asked] >= _ANSWER)) & ~np.isnan(after)
        share = model_metrics.proportion(int(same.sum()), len(asked))
        return {"change": name, "pictures": len(asked), "kept": figure(share)}

    return {
        "changes": [measured(name) for name in PERTURBATIONS],
        "grey": None if math.isnan(table.grey) else float(table.grey),
    }
