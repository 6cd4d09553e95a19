"""Two ways to the same figures: TFMA's, which the report shows, and those that the verdict rests on."""

from __future__ import annotations

import math

import numpy as np

from components.errors import PipelineError
from components.model_metrics import metrics
from components.prediction_table.table import PredictionTable
from components.tfma_metrics import Metrics

_TOLERANCES = {"accuracy": 1e-6, "auc": 1e-6, "loss": 1e-4}  # TFMA sums losses as 32-bit numbers
_THRESHOLDS = 10_000  # of TFMA's AUC, equally far apart


def compare(table: PredictionTable, measured: Metrics) -> None:
    """Compares the candidate's figures over all pictures.

    Raises:
        PipelineError: They are not those of the same pictures and answers.
    """
    if measured.examples != len(table.labels):
        raise _apart("number of pictures", measured.examples, len(table.labels))
    if not len(table.labels):
        return
    ours = {
        "accuracy": metrics.accuracy(table.labels, table.probabilities).value,
        "auc": metrics.area(table.labels, table.probabilities).value,
        "loss": float(metrics.losses(table.labels, table.probabilities).mean()),
    }
    for name, value in ours.items():
        theirs = float(getattr(measured, name))
        allowed = _TOLERANCES[name] + (_ties(table) if name == "auc" else 0)
        if not math.isnan(value) and not abs(theirs - value) <= allowed:
            raise _apart(name, theirs, value)


def _ties(table: PredictionTable) -> float:
    """Returns how far TFMA's AUC may be from the true one, as no threshold tells some answers apart.

    A pair of pictures, one of each class, counts as a half there when both answers lie between the same two
    thresholds, where it is 0 or 1 in truth. Very sure answers all do. TFMA counts answers in as many buckets
    as there are thresholds, which are not quite the same, so that two neighbouring buckets may fall together.
    """
    numbers = (table.probabilities * _THRESHOLDS).astype(np.int64)
    first, second = (
        np.bincount(numbers[table.labels == label], minlength=_THRESHOLDS + 1).astype(np.float64)
        for label in (0, 1)
    )
    tied = first @ np.convolve(second, np.ones(3), "same")
    return float(0.5 * tied / max(1.0, first.sum() * second.sum()))


def _apart(name: str, theirs: float, ours: float) -> PipelineError:
    return PipelineError(
        f"The Evaluator and the QualityGate disagree on the {name} ({theirs:.8g} and {ours:.8g}), so that "
        "one of them is wrong: run again with `catsdogs run --from PredictionTable`, and report it if it "
        "stays."
    )
