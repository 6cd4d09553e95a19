"""Computes metrics, comparisons, curves, slices and the image gallery from the prediction table."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np

from components import model_metrics
from components.evaluation_report.json_values import JsonObject, estimate, number
from components.model_metrics import Curve, Estimate
from components.prediction_table.columns import PERTURBATIONS, SLICES
from components.prediction_table.table import Predictions

GALLERY_IMAGES = 12  # per group
SLICES_SHOWN = 40  # largest slices per feature: a source may have any number of folders
_CURVE_POINTS = 400
_CORNER = 1e-3  # resolution of the curve near its ideal corner
_THRESHOLD = 0.5
_RANGES = ("dark", "medium", "bright", "portrait", "square", "landscape")


def collect(table: Predictions, min_slice_images: int) -> JsonObject:
    """Returns all results computed from the test images as a JSON object.

    Args:
        table: The predictions of the candidate and the baselines.
        min_slice_images: Slices with fewer images are marked as too small to evaluate.
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
            {"name": name, **{model: estimate(values[name]) for model, values in measured.items()}}
            for name in measured["candidate"]
        ],
        "comparisons": [_comparison(table, name) for name in table.baselines],
        "curves": {name: curves(table.labels, probabilities) for name, probabilities in models.items()},
        "confusion": model_metrics.confusion_matrix(table.labels, table.probabilities).tolist(),
        "slices": _slices(table, min_slice_images),
        "slices_left_out": sum(max(0, len(set(table.slices[name])) - SLICES_SHOWN) for name in SLICES),
        "gallery": _gallery(table),
        "behaviour": _consistency(table),
        "seen_in_training": int(table.seen.sum()),
    }


def _measured(
    labels: np.ndarray, probabilities: np.ndarray, class_names: tuple[str, str]
) -> dict[str, Estimate]:
    """Returns the metrics of one model; only the accuracy if its outputs are not probabilities."""
    if _are_probabilities(probabilities):
        return model_metrics.compute_metrics(labels, probabilities, class_names)
    is_correct = model_metrics.is_correct(labels, probabilities)
    absent = dict.fromkeys(
        model_metrics.compute_metrics(np.empty(0, int), np.empty(0), class_names), model_metrics.ABSENT
    )
    return {**absent, "accuracy": model_metrics.proportion(int(is_correct.sum()), len(is_correct))}


def _are_probabilities(values: np.ndarray) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def curves(labels: np.ndarray, probabilities: np.ndarray) -> JsonObject:
    """Returns the ROC, precision-recall and calibration points of one model; empty if not computable."""
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
                "share": estimate(bucket.share),
                "pictures": bucket.count,
            }
            for bucket in model_metrics.calibration_curve(labels, probabilities)
        ],
    }


def _thinned(curve: Curve, ideal_x: float) -> JsonObject:
    """Returns at most 400 points of a curve, densest near its ideal corner."""
    x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
    indices = np.arange(len(x))
    if len(x) > _CURVE_POINTS:
        distance = np.log(np.stack([np.abs(x - ideal_x), np.abs(1 - y)]) + _CORNER)
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(distance)).sum(axis=0))])
        indices = np.unique(np.searchsorted(length, np.linspace(0, length[-1], _CURVE_POINTS)))
    return {
        "x": [number(value) for value in x[indices]],
        "y": [number(value) for value in y[indices]],
        "thresholds": [number(value) for value in np.asarray(curve.thresholds, float)[indices]],
    }


def _comparison(table: Predictions, name: str) -> JsonObject:
    baseline = table.baselines[name]
    report: JsonObject = {
        "baseline": name,
        "state": baseline.state,
        "model_id": baseline.model_id,
        "uri": baseline.uri,
        "reason": baseline.reason,
    }
    if name in table.baseline_probabilities and len(table.labels):
        report |= paired(table.labels, table.probabilities, table.baseline_probabilities[name])
    return report


def paired(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> JsonObject:
    """Returns the paired accuracy difference of two models on the same images and its p-value."""
    comparison = model_metrics.compare(labels, first, second)
    return {
        "difference": estimate(comparison.difference),
        "only_candidate_right": comparison.only_candidate_right,
        "only_baseline_right": comparison.only_baseline_right,
        "p_value": number(comparison.p_value),
    }


def _slices(table: Predictions, min_images: int) -> list[JsonObject]:
    models = {"candidate": table.probabilities, **table.baseline_probabilities}
    correct = {
        name: model_metrics.is_correct(table.labels, probabilities) for name, probabilities in models.items()
    }
    slices = []
    for feature in SLICES:
        slice_values = np.array(table.slices[feature], dtype=object)
        largest = Counter(table.slices[feature]).most_common(SLICES_SHOWN)
        for value in sorted((value for value, _ in largest), key=_range_order):
            in_slice = slice_values == value
            images = int(in_slice.sum())
            slices.append(
                {
                    "feature": feature,
                    "value": value,
                    "pictures": images,
                    "judged": images >= min_images,
                    **{
                        name: estimate(model_metrics.proportion(int(values[in_slice].sum()), images))
                        for name, values in correct.items()
                    },
                    "figures": {
                        name: estimate(measured)
                        for name, measured in _measured(
                            table.labels[in_slice], table.probabilities[in_slice], table.class_names
                        ).items()
                    },
                }
            )
    return slices


def _range_order(value: str) -> tuple[float, int, str]:
    """Returns a sort key that orders range names by size: "under 16 kB" before "16 to 64 kB"."""
    if value in _RANGES:
        return (_RANGES.index(value), 0, value)
    units = {"": 1.0, "k": 1e3, "M": 1e6}
    match = re.match(r"(under )?(\d+)(k|M)?\b", value)
    if match is None:
        return (math.inf, 0, value)
    return (int(match[2]) * units[match[3] or ""], 0 if match[1] else 1, value)


def _gallery(table: Predictions) -> JsonObject:
    certainty = np.abs(table.probabilities - _THRESHOLD)
    is_correct = model_metrics.is_correct(table.labels, table.probabilities)
    wrong = np.flatnonzero(~is_correct)
    mistakes = wrong[np.argsort(-certainty[wrong], kind="stable")][:GALLERY_IMAGES]
    others = np.setdiff1d(np.arange(len(is_correct)), mistakes)
    uncertain = others[np.argsort(certainty[others], kind="stable")][:GALLERY_IMAGES]
    return {
        "wrong": len(wrong),
        "mistakes": [_gallery_entry(table, int(index)) for index in mistakes],
        "uncertain": [_gallery_entry(table, int(index)) for index in uncertain],
    }


def _gallery_entry(table: Predictions, index: int) -> JsonObject:
    probability = float(table.probabilities[index])
    label = int(probability >= _THRESHOLD)
    newest = table.baseline_probabilities.get("newest")
    return {
        "file": table.filenames[index],
        "digest": table.digests[index],
        "truth": table.class_names[int(table.labels[index])],
        "answer": table.class_names[label],
        "probability": number(probability if label else 1 - probability),
        "newest": None if newest is None else number(newest[index] if label else 1 - newest[index]),
    }


def _consistency(table: Predictions) -> JsonObject:
    def consistency(name: str) -> JsonObject:
        changed = table.changed.get(name)
        indices = np.flatnonzero(table.sampled) if changed is not None else np.empty(0, int)
        after = changed[indices] if changed is not None else np.empty(0)
        same = ((after >= _THRESHOLD) == (table.probabilities[indices] >= _THRESHOLD)) & ~np.isnan(after)
        share = model_metrics.proportion(int(same.sum()), len(indices))
        return {"change": name, "pictures": len(indices), "kept": estimate(share)}

    return {
        "changes": [consistency(name) for name in PERTURBATIONS],
        "grey": None if math.isnan(table.grey) else float(table.grey),
    }
