"""Two models on the same pictures: is one worse beyond what chance explains?"""

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
    """A candidate and a baseline on the same pictures.

    Attributes:
        difference: The candidate's accuracy minus the baseline's, with its 95 % interval.
        only_candidate_right: Number of pictures that only the candidate gets right.
        only_baseline_right: Number of pictures that only the baseline gets right.
        pictures: Number of pictures.
        p_value: How probable so bad a result or a worse one is if the candidate loses no more than is
            tolerated.
        level: Below which probability chance is no explanation.
    """

    difference: Estimate
    only_candidate_right: int
    only_baseline_right: int
    pictures: int
    p_value: float
    level: float

    @property
    def worse(self) -> bool:
        """Whether the candidate loses more than is tolerated, beyond what chance explains."""
        return self.p_value < self.level


def compare(
    labels: np.ndarray,
    candidate: np.ndarray,
    baseline: np.ndarray,
    tolerated_loss: float = 0.0,
    level: float = 0.05,
) -> Comparison:
    """Compares two models by which of them gets which picture right.

    Args:
        labels: 0 or 1, int64 [N].
        candidate: Its probabilities of the second class, float64 [N].
        baseline: Likewise.
        tolerated_loss: How much lower the candidate's accuracy may be in truth, 0 to 1.
        level: Below which probability chance is no explanation.
    """
    right, before = metrics.correct(labels, candidate), metrics.correct(labels, baseline)
    gained, lost = int((right & ~before).sum()), int((before & ~right).sum())
    total = len(labels)
    return Comparison(
        _interval(gained, lost, total),
        gained,
        lost,
        total,
        p_value(gained, lost, total, tolerated_loss),
        level,
    )


def statistic(gained: int, lost: int, total: int, difference: float) -> float:
    """Returns Tango's (1998) score statistic, standard normal where the accuracies differ by `difference`.

    With a difference of 0 it is McNemar's without continuity correction.
    """
    linear = -gained - lost + (2 * total - gained + lost) * difference
    constant = -lost * difference * (1 - difference)
    share_lost = (math.sqrt(max(0.0, linear**2 - 8 * total * constant)) - linear) / (4 * total)
    variance = total * (2 * share_lost + difference * (1 - difference))
    return (gained - lost - total * difference) / math.sqrt(variance) if variance > 0 else 0.0


def p_value(gained: int, lost: int, total: int, tolerated_loss: float = 0.0) -> float:
    """Returns how probable so bad a result or a worse one is if just the tolerated loss were true."""
    return float(special.ndtr(statistic(gained, lost, total, -tolerated_loss)))


@cache
def _interval(gained: int, lost: int, total: int) -> Estimate:
    """Returns the difference with Tango's interval: what his test does not contradict."""
    if total == 0:
        return ABSENT
    z = float(special.ndtri((1 + CONFIDENCE) / 2))
    value = (gained - lost) / total

    def end(sign: int) -> float:
        def excess(difference: float) -> float:
            return sign * statistic(gained, lost, total, difference) + z

        limit = sign * (1 - 1e-9)
        return float(optimize.brentq(excess, value, limit)) if excess(limit) < 0 else float(sign)

    return Estimate(value, end(-1), end(1))
