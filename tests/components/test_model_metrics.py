"""Figures and their intervals, against published examples and against what they must cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from components.model_metrics import (
    calibration_curve,
    compute_metrics,
    confusion_matrix,
    estimates,
    metrics,
    precision_recall_curve,
    roc_curve,
)

NAMES = ("cat", "dog")


def drawn(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels, and probabilities that are as sure as they are right."""
    random = np.random.default_rng(seed)
    probabilities = np.where(
        random.random(images) < 0.5, random.beta(8, 1, images), random.beta(1, 8, images)
    )
    return (random.random(images) < probabilities).astype(np.int64), probabilities


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_shares_have_wilson_s_interval_as_newcombe_1998_prints_it(
    hits: int, total: int, low: float, high: float
) -> None:
    figure = estimates.proportion(hits, total)
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=5e-5)
    mirrored = estimates.proportion(total - hits, total)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - figure.high, 1 - figure.low))


def test_figures_are_scikit_learn_s() -> None:
    labels, probabilities = drawn(500)
    figures = compute_metrics(labels, probabilities, NAMES)
    predicted = probabilities >= 0.5
    assert figures["accuracy"].value == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert figures["auc"].value == pytest.approx(sklearn_metrics.roc_auc_score(labels, probabilities))
    assert figures["loss"].value == pytest.approx(sklearn_metrics.log_loss(labels, probabilities), abs=1e-6)
    for label, name in enumerate(NAMES):
        found = sklearn_metrics.precision_recall_fscore_support(labels, predicted, labels=[label])
        ours = [figures[f"{figure}/{name}"].value for figure in ("precision", "recall", "f1")]
        assert ours == pytest.approx([each[0] for each in found[:3]])
    assert (
        confusion_matrix(labels, probabilities).tolist()
        == sklearn_metrics.confusion_matrix(labels, predicted).tolist()
    )
    error = figures.pop("calibration_error")  # of a calibrated model, all of the measured one may be chance
    assert error.low < error.value <= error.high
    assert all(each.low < each.value < each.high for each in figures.values())


def test_the_interval_of_f1_is_that_of_the_share_it_is_made_of() -> None:
    figure = estimates.f1_score(8, 4)
    share = estimates.proportion(8, 12)
    assert figure.value == pytest.approx(0.8)
    assert [end / (2 - end) for end in (figure.low, figure.high)] == pytest.approx([share.low, share.high])


@pytest.mark.parametrize("value", [0.6, 0.9, 0.985, 1.0])
def test_the_ends_for_auc_solve_newcombe_s_equation(value: float) -> None:
    negatives, positives = 31, 18
    figure = estimates.roc_auc(value, negatives, positives)
    others = (negatives + positives) / 2 - 1
    for area in {figure.low, figure.high} - {1.0}:
        first, second = area / (2 - area), 2 * area**2 / (1 + area)  # Hanley and McNeil's Q1 and Q2
        variance = area * (1 - area) + others * (first - area**2) + others * (second - area**2)
        assert abs(value - area) == pytest.approx(1.959964 * math.sqrt(variance / negatives / positives))
    assert figure.low < value <= figure.high


def test_the_interval_for_auc_covers_the_truth_where_delong_s_would_have_no_width() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 20)
    truth = 0.98  # two normal distributions so far apart
    apart = math.sqrt(2) * 2.0537489
    covered = 0
    for _ in range(100):
        figure = metrics.roc_auc(labels, random.normal(size=40) + apart * labels)
        covered += figure.low <= truth <= figure.high
    assert covered >= 90  # 95 are expected


def test_keras_bounds_the_loss_of_a_wrong_certainty() -> None:
    assert metrics.log_losses(np.array([1, 0]), np.array([0.0, 0.0])) == pytest.approx(
        [15.424949, 0], abs=1e-6
    )


def test_calibration_error_is_the_distance_of_shares_from_probabilities() -> None:
    labels, probabilities = np.array([0, 1, 1, 1, 0]), np.array([0.05, 0.75, 0.75, 0.75, 0.75])
    assert metrics.calibration_error(labels, probabilities).value == pytest.approx(0.05 / 5)
    labels = np.array([1, 0, 0, 0, 1])
    assert metrics.calibration_error(labels, probabilities).value == pytest.approx((0.95 + 4 * 0.5) / 5)


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_the_interval_of_the_calibration_error_covers_the_truth(shift: float) -> None:
    """Few images show a larger error than there is; their interval must reach down to it all the same."""
    random = np.random.default_rng(2)
    covered = above = 0
    for _ in range(25):
        probabilities = random.choice([0.25, 0.75], 200)
        labels = (random.random(200) < probabilities - shift).astype(np.int64)
        figure = metrics.calibration_error(labels, probabilities)
        covered += figure.low <= shift <= figure.high
        above += figure.low > shift
        assert figure.low <= figure.value <= figure.high
    assert covered >= 21
    assert above <= 3


@pytest.mark.parametrize("images", [100, 1000])
def test_the_calibration_error_of_a_model_without_a_mistake_has_a_width(images: int) -> None:
    """It predicts one error in 100,000; as many images cannot show whether it is one in 500."""
    labels = np.arange(images) % 2
    figure = metrics.calibration_error(labels, np.where(labels == 1, 0.99999, 0.00001))
    assert figure.value == pytest.approx(0.00001)
    assert figure.low == 0  # the measured error is just that of a calibrated model
    assert 0.002 < figure.high < 5 / images


def test_the_interval_of_the_loss_covers_the_truth() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(40):
        figure = estimates.mean(random.exponential(0.2, 100))
        covered += figure.low <= 0.2 <= figure.high
    assert covered >= 34


def test_what_cannot_be_measured_is_absent() -> None:
    nothing = compute_metrics(np.empty(0, np.int64), np.empty(0), NAMES)
    assert not any(figure.exists for figure in nothing.values())
    one_class = compute_metrics(np.ones(5, np.int64), np.full(5, 0.9), NAMES)
    missing = {name for name, figure in one_class.items() if not figure.exists}
    assert missing == {"auc", "precision/cat", "recall/cat", "f1/cat"}
    assert one_class["accuracy"].low == pytest.approx(0.5655, abs=1e-4)


def test_curves() -> None:
    labels, probabilities = drawn(300)
    found = roc_curve(labels, probabilities)
    assert sklearn_metrics.auc(found.x, found.y) == pytest.approx(
        sklearn_metrics.roc_auc_score(labels, probabilities)
    )
    found = precision_recall_curve(labels, probabilities)
    assert np.all(np.diff(found.x) >= 0)
    assert (found.x[0], found.x[-1], found.y[0]) == (0, 1, 1)
    assert len(found.thresholds) == len(found.x)
    assert len(roc_curve(np.ones(3, np.int64), np.full(3, 0.5)).x) == 0


def test_calibration_has_the_buckets_that_hold_images() -> None:
    buckets = calibration_curve(np.array([0, 1, 1, 0]), np.array([0.0, 0.31, 0.35, 1.0]))
    assert [(each.probability, each.share.value, each.count) for each in buckets] == [
        (0.0, 0.0, 1),
        (pytest.approx(0.33), 1.0, 2),
        (1.0, 0.0, 1),
    ]
