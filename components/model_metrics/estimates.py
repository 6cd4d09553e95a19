"""A measured figure, and the interval that holds what it is in truth in 95 of 100 such measurements."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
_Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
_RESAMPLES = 1000
_LARGEST = 16.0  # times the measured gaps
_HALVINGS = 12
_ROUNDING = 1e-12
_SEED = 20_260
_BATCH_VALUES = 2_000_000  # resampled at once, which bounds the memory


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; all three are nan where there is nothing to measure.

    Attributes:
        value: As measured.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float

    @property
    def exists(self) -> bool:
        """Whether there was anything to measure."""
        return not math.isnan(self.value)


ABSENT = Estimate(math.nan, math.nan, math.nan)


def proportion(hits: int, total: int) -> Estimate:
    """Returns a share with Wilson's score interval (Wilson 1927; Newcombe 1998, method 3).

    Args:
        hits: How many of them.
        total: Of how many; the figure is absent where there are none.
    """
    if total == 0:
        return ABSENT
    share = hits / total
    shrunk = 1 / (1 + _Z**2 / total)
    centre = (share + _Z**2 / (2 * total)) * shrunk
    half = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2)) * shrunk
    # Rounding must not push the ends past what they are in these two cases.
    low = 0.0 if hits == 0 else centre - half
    high = 1.0 if hits == total else centre + half
    return Estimate(share, low, high)


def f1(hits: int, errors: int) -> Estimate:
    """Returns F1 with the "Wilson indirect" interval (Lam, Gopal and Qian 2023).

    F1 = 2p / (1 + p), where p = hits / (hits + errors) is a plain share, with Wilson's interval.

    Args:
        hits: Pictures of the class that were found.
        errors: Pictures of the class that were missed, and others that were taken for it.
    """
    share = proportion(hits, hits + errors)
    return Estimate(*(2 * p / (1 + p) for p in (share.value, share.low, share.high)))


def auc(value: float, negatives: int, positives: int) -> Estimate:
    """Returns the area under the ROC curve with Newcombe's score-like interval (2006, part 2, method 5).

    Unlike DeLong's it has a width where the classes are told apart without a mistake.

    Args:
        value: The measured area.
        negatives: Number of pictures of the first class.
        positives: Number of pictures of the second class; absent where one class has no pictures.
    """
    if negatives == 0 or positives == 0:
        return ABSENT
    others = (negatives + positives) / 2 - 1

    def deviation(area: float) -> float:
        """How far the measured area may lie from this one."""
        spread = 1 + others * ((1 - area) / (2 - area) + area / (1 + area))
        return _Z * math.sqrt(area * (1 - area) / (negatives * positives) * spread)

    low = _crossing(lambda area: value - area - deviation(area), 0.0, value)
    high = _crossing(lambda area: area - value - deviation(area), 1.0, value)
    return Estimate(value, low, high)


def _crossing(excess: Callable[[float], float], end: float, value: float) -> float:
    """Returns where `excess` is zero between an end of the scale, where it is positive, and the value."""
    if end == value or excess(end) <= 0:
        return end
    inside = value + math.copysign(1e-12, end - value)  # at 0 and 1 it is zero, too
    return float(optimize.brentq(excess, end, inside))


def mean(values: np.ndarray) -> Estimate:
    """Returns the mean of values [N] with the BCa bootstrap interval (Efron 1987)."""
    if not len(values):
        return ABSENT
    value = float(values.mean())
    if len(values) == 1:
        return Estimate(value, math.nan, math.nan)
    if np.ptp(values) < 1e-12 * max(1.0, abs(value)):  # nothing varies: BCa has no answer
        return Estimate(value, value, value)
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_batch(len(values)),
        confidence_level=CONFIDENCE,
        vectorized=True,
        method="BCa" if len(values) <= 1000 else "percentile",  # they agree on many, and BCa's cost grows
        rng=np.random.default_rng(_SEED),
    )
    return _around(value, *found.confidence_interval)


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, buckets: np.ndarray) -> Estimate:
    """Returns the expected calibration error (Naeini et al. 2015) with an interval.

    Chance makes few pictures look less calibrated than a model is, and a resample of them still less, so that
    a plain bootstrap would not reach down to the truth. Instead labels are drawn anew, as in consistency
    resampling (Bröcker and Smith 2007), for models that are off as the measured one is, but by less or by
    more; the interval holds the errors of those that the measured error is not unusual for. Half a picture of
    either label is added to each bucket (Jeffreys), as labels that are all the same would never vary.

    Args:
        labels: 0 or 1, [N].
        probabilities: Of the label 1, [N].
        buckets: Which bucket each probability is in, int [N].
    """
    if not len(labels):
        return ABSENT
    _, places, counts = np.unique(buckets, return_inverse=True, return_counts=True)
    said = np.bincount(places, weights=probabilities) / counts
    hits = np.bincount(places, weights=labels)
    value = float(np.abs(counts * said - hits).sum() / len(labels))
    gaps = said - (hits + 0.5) / (counts + 1)

    def shares(size: float) -> np.ndarray:
        """True shares of the second class in each bucket, if so much of the gaps is real."""
        return np.clip(said - size * gaps, 0, 1)

    def measured(size: float, quantile: float) -> float:
        drawn = np.random.default_rng(_SEED).binomial(counts, shares(size), (_RESAMPLES, len(counts)))
        return float(np.quantile(np.abs(counts * said - drawn).sum(axis=1) / len(labels), quantile))

    def real(size: float) -> float:
        return float(counts @ np.abs(said - shares(size)) / len(labels))

    upper, lower = (1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2
    smallest = _bisect(lambda size: measured(size, upper) >= value - _ROUNDING, 1.0, 0.0)
    largest = _bisect(lambda size: measured(size, lower) <= value + _ROUNDING, 1.0, _LARGEST)
    return _around(value, real(smallest), real(largest))


def _bisect(fits: Callable[[float], bool], inside: float, outside: float) -> float:
    """Returns how far from `inside` to `outside` something fits."""
    if fits(outside):
        return outside
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if fits(middle) else (inside, middle)
    return inside


def _batch(size: int) -> int:
    return max(1, _BATCH_VALUES // size)


def _around(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, min(value, float(low)), max(value, float(high)))
