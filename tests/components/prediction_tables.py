"""Prediction tables for tests, with given or random predictions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from components.prediction_table import columns
from components.prediction_table.table import BaselineState, Predictions
from trainer import features

RANGES = {
    features.SOURCE_FOLDER: ("home", "street"),
    features.RESOLUTION_RANGE: ("50k to 200k pixels", "200k to 1M pixels"),
    features.ASPECT_RANGE: ("portrait", "square", "landscape"),
    features.BRIGHTNESS_RANGE: ("dark", "medium", "bright"),
    features.BYTE_SIZE_RANGE: ("under 16 kB", "16 to 64 kB"),
}


def table(
    labels: Sequence[int] | np.ndarray,
    probabilities: Sequence[float] | np.ndarray,
    baselines: Mapping[str, Sequence[float] | np.ndarray] | None = None,
    **changes: Any,
) -> Predictions:
    """Returns a table of images `0000.jpg`, `0001.jpg`, … none of them seen in training.

    Args:
        labels: The truth.
        probabilities: The candidate's.
        baselines: Probabilities of `newest`, and of `best` if it is another model; none by default.
        **changes: Other values of fields.
    """
    labels, predicted = np.asarray(labels, np.int64), np.asarray(probabilities, np.float64)
    compared = {name: np.asarray(values, np.float64) for name, values in (baselines or {}).items()}
    states = {name: BaselineState("none") for name in columns.BASELINE_COLUMNS}
    for number, name in enumerate(compared, start=1):
        states[name] = BaselineState("compared", number, f"/models/{number}")
    if "newest" in compared and "best" not in compared:
        compared["best"], states["best"] = compared["newest"], replace(states["newest"], state="same")
    class_names = ("cat", "dog")
    names = [f"{index:04d}.jpg" for index in range(len(labels))]
    slices = {
        name: [values[index % len(values)] for index in range(len(labels))] for name, values in RANGES.items()
    }
    made = Predictions(
        class_names=class_names,
        filenames=names,
        digests=[hashlib.sha256(name.encode()).hexdigest() for name in names],
        labels=labels,
        probabilities=predicted,
        slices={features.CLASS_NAME: [class_names[label] for label in labels], **slices},
        seen=np.zeros(len(labels), bool),
        baselines=states,
        baseline_probabilities=compared,
        changed={name: predicted.copy() for name in columns.PERTURBATIONS},
        sampled=np.ones(len(labels), bool),
        grey=0.5,
        model_id=9,
        model_uri="/models/9",
    )
    if "changed" in changes and "sampled" not in changes:
        is_predicted = [~np.isnan(values) for values in changes["changed"].values()]
        changes["sampled"] = np.any(is_predicted, axis=0) if is_predicted else np.zeros(len(labels), bool)
    return replace(made, **changes)


def drawn(images: int = 200, accuracy: float = 0.9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels, and probabilities of which about such a share lies on the right side of a half."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, images)
    sure = random.uniform(0.5, 1, images)
    right = random.random(images) < accuracy
    return labels, np.where((labels == 1) == right, sure, 1 - sure)
