"""Two ways to the same figures: TFMA's, which the report shows, and those that the verdict rests on."""

from __future__ import annotations

import math

from components.errors import PipelineError
from components.evaluation_metrics import Metrics
from components.figures import measures
from components.prediction_table.table import PredictionTable

# TFMA's AUC interpolates between ten thousand thresholds, and its sums are of 32-bit numbers.
_TOLERANCES = {"accuracy": 1e-6, "auc": 1e-3, "loss": 1e-4}


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
        "accuracy": measures.accuracy(table.labels, table.probabilities).value,
        "auc": measures.area(table.labels, table.probabilities).value,
        "loss": float(measures.losses(table.labels, table.probabilities).mean()),
    }
    for name, value in ours.items():
        theirs = float(getattr(measured, name))
        if not math.isnan(value) and not abs(theirs - value) <= _TOLERANCES[name]:
            raise _apart(name, theirs, value)


def _apart(name: str, theirs: float, ours: float) -> PipelineError:
    return PipelineError(
        f"The Evaluator and the QualityGate disagree on the {name} ({theirs:.8g} and {ours:.8g}), so that "
        "one of them is wrong: run again with `catsdogs run --from PredictionTable`, and report it if it "
        "stays."
    )
