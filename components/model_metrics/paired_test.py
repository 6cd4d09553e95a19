"""Paired comparison of two models on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special

from components.model_metrics import metrics
from components.model_metrics.estimates import ABSENT, CONFIDENCE, Estimate


@dataclass(frozen=True)
class Comparison:
    """Comparison of a candidate and a baseline on the same images.

    Attributes:
        difference: The candidate's accuracy minus the baseline's, with its 95 % interval.
        only_candidate_right: Number of images that only the candidate classifies correctly.
        only_baseline_right: Number of images that only the baseline classifies correctly.
        images: Number of images.
        p_value: One-sided p-value of the hypothesis that the true loss is at most the tolerated one.
        level: Significance level.
    """

    difference: Estimate
    only_candidate_right: int
    only_baseline_right: int
    pictures: int
    p_value: float
    level: float

    @property
    def worse(self) -> bool:
        """True if the candidate loses significantly more accuracy than tolerated."""
        return self.p_value < self.level


def compare(
    labels: np.ndarray,
    candidate: np.ndarray,
    baseline: np.ndarray,
    tolerated_loss: float = 0.0,
    level: float = 0.05,
) -> Comparison:
    """Compares the accuracy of two models with Tango's score test.

    Args:
        labels: 0 or 1, int64 [N].
        candidate: Probabilities of the second class from the candidate, float64 [N].
        baseline: Probabilities of the second class from the baseline, float64 [N].
        tolerated_loss: Tolerated loss of true accuracy, 0 to 1.
        level: Significance level.
    """
    candidate_correct, baseline_correct = (
        metrics.is_correct(labels, candidate),
        metrics.is_correct(labels, baseline),
    )
    gained, lost = (
        int((candidate_correct & ~baseline_correct).sum()),
        int((baseline_correct & ~candidate_correct).sum()),
    )
    total = len(labels)
    return Comparison(
        _interval(gained, lost, total),
        gained,
        lost,
        total,
        p_value(gained, lost, total, tolerated_loss),
        level,
    )


def tango_statistic(gained: int, lost: int, total: int, difference: float) -> float:
    """Returns Tango's (1998) score statistic, standard normal if the accuracies differ by `difference`.

    With a difference of 0 it equals McNemar's statistic without continuity correction.
    """
    linear = -gained - lost + (2 * total - gained + lost) * difference
    constant = -lost * difference * (1 - difference)
    share_lost = (math.sqrt(max(0.0, linear**2 - 8 * total * constant)) - linear) / (4 * total)
    variance = total * (2 * share_lost + difference * (1 - difference))
    return (gained - lost - total * difference) / math.sqrt(variance) if variance > 0 else 0.0


def p_value(gained: int, lost: int, total: int, tolerated_loss: float = 0.0) -> float:
    """Returns the one-sided p-value under a true loss equal to the tolerated one."""
    return float(special.ndtr(tango_statistic(gained, lost, total, -tolerated_loss)))


@cache
def _interval(gained: int, lost: int, total: int) -> Estimate:
    """Returns the difference with the interval that inverts Tango's test."""
    if total == 0:
        return ABSENT
    z = float(special.ndtri((1 + CONFIDENCE) / 2))
    value = (gained - lost) / total

    def end(sign: int) -> float:
        def excess(difference: float) -> float:
            return sign * tango_statistic(gained, lost, total, difference) + z

        limit = sign * (1 - 1e-9)
        return float(optimize.brentq(excess, value, limit)) if excess(limit) < 0 else float(sign)

    return Estimate(value, end(-1), end(1))
