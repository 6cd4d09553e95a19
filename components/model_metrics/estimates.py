"""Estimates of metrics with 95 % confidence intervals."""

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
    """A metric and its 95 % interval; all values are NaN if there is nothing to measure.

    Attributes:
        value: Point estimate.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float

    @property
    def exists(self) -> bool:
        """True unless the estimate is NaN."""
        return not math.isnan(self.value)


ABSENT = Estimate(math.nan, math.nan, math.nan)


def proportion(hits: int, total: int) -> Estimate:
    """Returns a proportion with Wilson's score interval (Wilson 1927; Newcombe 1998, method 3).

    Args:
        hits: Number of hits.
        total: Number of trials; the estimate is `ABSENT` for 0.
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


def f1_score(hits: int, errors: int) -> Estimate:
    """Returns F1 with the "Wilson indirect" interval (Lam, Gopal and Qian 2023).

    F1 = 2p / (1 + p), where p = hits / (hits + errors) is a proportion with Wilson's interval.

    Args:
        hits: Number of true positives.
        errors: Number of false negatives and false positives.
    """
    share = proportion(hits, hits + errors)
    return Estimate(*(2 * p / (1 + p) for p in (share.value, share.low, share.high)))


def roc_auc(value: float, negatives: int, positives: int) -> Estimate:
    """Returns the area under the ROC curve with Newcombe's score-like interval (2006, part 2, method 5).

    Unlike DeLong's interval, it has a positive width if the classes are separated perfectly.

    Args:
        value: The point estimate.
        negatives: Number of images of the first class.
        positives: Number of images of the second class. The estimate is `ABSENT` if either number is 0.
    """
    if negatives == 0 or positives == 0:
        return ABSENT
    others = (negatives + positives) / 2 - 1

    def deviation(area: float) -> float:
        """Returns the half-width of the interval at this area."""
        spread = 1 + others * ((1 - area) / (2 - area) + area / (1 + area))
        return _Z * math.sqrt(area * (1 - area) / (negatives * positives) * spread)

    low = _crossing(lambda area: value - area - deviation(area), 0.0, value)
    high = _crossing(lambda area: area - value - deviation(area), 1.0, value)
    return Estimate(value, low, high)


def _crossing(excess: Callable[[float], float], end: float, value: float) -> float:
    """Returns the root of `excess` between an end of the scale, where it is positive, and the value."""
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
    if np.ptp(values) < 1e-12 * max(1.0, abs(value)):  # BCa is undefined without variance
        return Estimate(value, value, value)
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_batch(len(values)),
        confidence_level=CONFIDENCE,
        vectorized=True,
        method="BCa"
        if len(values) <= 1000
        else "percentile",  # they agree on large samples, and BCa is slower
        rng=np.random.default_rng(_SEED),
    )
    return _around(value, *result.confidence_interval)


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, buckets: np.ndarray) -> Estimate:
    """Returns the expected calibration error (Naeini et al. 2015) with an interval.

    On small samples, the measured error overestimates the true error, and a plain bootstrap adds to the bias.
    Instead, labels are resampled as in consistency resampling (Bröcker and Smith 2007) for models whose gaps
    are a multiple of the measured ones; the interval contains the errors of the models for which the measured
    error is not unusual. Half an image of each label is added to each bucket (Jeffreys prior), because
    identical labels would not vary.

    Args:
        labels: 0 or 1, [N].
        probabilities: Probabilities of label 1, [N].
        buckets: Bucket of each probability, int [N].
    """
    if not len(labels):
        return ABSENT
    _, bucket_indices, counts = np.unique(buckets, return_inverse=True, return_counts=True)
    confidences = np.bincount(bucket_indices, weights=probabilities) / counts
    hits = np.bincount(bucket_indices, weights=labels)
    value = float(np.abs(counts * confidences - hits).sum() / len(labels))
    gaps = confidences - (hits + 0.5) / (counts + 1)

    def shares(size: float) -> np.ndarray:
        """Returns the true proportion in each bucket if the true gaps are `size` times the measured ones."""
        return np.clip(confidences - size * gaps, 0, 1)

    def measured(size: float, quantile: float) -> float:
        drawn = np.random.default_rng(_SEED).binomial(counts, shares(size), (_RESAMPLES, len(counts)))
        return float(np.quantile(np.abs(counts * confidences - drawn).sum(axis=1) / len(labels), quantile))

    def real(size: float) -> float:
        return float(counts @ np.abs(confidences - shares(size)) / len(labels))

    upper, lower = (1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2
    smallest = _bisect(lambda size: measured(size, upper) >= value - _ROUNDING, 1.0, 0.0)
    largest = _bisect(lambda size: measured(size, lower) <= value + _ROUNDING, 1.0, _LARGEST)
    return _around(value, real(smallest), real(largest))


def _bisect(fits: Callable[[float], bool], inside: float, outside: float) -> float:
    """Returns by bisection the last value from `inside` to `outside` for which `fits` is True."""
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
