"""What `benchmarks.recipe` has measured, as Markdown: accuracy, log loss, and what training costs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from components.figures import proportion
from trainer import stages

_LEAST = 1e-7  # probabilities are cut there, as Keras' loss does


class Outcome(NamedTuple):
    """What a variant came to.

    Attributes:
        probabilities: Of each picture, by the model that has not seen it, [pictures].
        pass_seconds: CPU seconds that the pass over all pictures took, nan where its features were there.
        seconds: CPU seconds of both phases, mean of the folds.
        kept: How often each phase's weights were kept in the end.
    """

    probabilities: np.ndarray
    pass_seconds: float
    seconds: float
    kept: dict[str, int]


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the loss of each picture, [pictures]."""
    of_truth = np.where(labels == 1, probabilities, 1 - probabilities)
    return -np.log(np.clip(of_truth, _LEAST, 1))


def row(name: str, outcome: Outcome, default: Outcome, labels: np.ndarray) -> str:
    """Returns a line of the table."""
    right = proportion(int(np.sum((outcome.probabilities > 0.5) == labels)), len(labels))
    losses = log_losses(labels, outcome.probabilities)
    change = losses - log_losses(labels, default.probabilities)
    margin = 1.96 * change.std() / len(labels) ** 0.5
    against = "" if outcome is default else f"{change.mean():+.4f} ± {margin:.4f}"
    passed = "" if np.isnan(outcome.pass_seconds) else f"{outcome.pass_seconds:.0f}"
    return (
        f"| {name or 'default'} | {right.value:.2%} ({100 * right.low:.1f}–{100 * right.high:.1f}) | "
        f"{losses.mean():.4f} | {against} | {passed} | {outcome.seconds:.0f} | "
        f"{outcome.kept[stages.FINE_TUNING]} |"
    )
