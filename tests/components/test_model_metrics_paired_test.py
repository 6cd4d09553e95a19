"""Two models on the same images, against published examples of the test and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.model_metrics import Comparison, compare
from components.model_metrics.paired_test import p_value, tango_statistic


def compared(gained: int, lost: int, total: int, **limits: float) -> Comparison:
    """Compares models of which only the candidate is correct `gained` times, the baseline `lost` times."""
    candidate, baseline = np.zeros(total), np.zeros(total)
    candidate[:lost] = 1
    baseline[lost : lost + gained] = 1
    return compare(np.zeros(total, np.int64), candidate, baseline, **limits)


def test_the_interval_is_tango_s_as_fagerland_prints_it() -> None:
    """Airway hyper-responsiveness (Bentur 2009), in Fagerland, Lydersen and Laake (2014)."""
    found = compared(gained=1, lost=7, total=21)
    assert found.difference.value == pytest.approx(-6 / 21)
    assert (found.difference.low, found.difference.high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert 2 * found.p_value == pytest.approx(0.034, abs=5e-4)


def test_without_a_margin_it_is_mc_nemar_s_test() -> None:
    for gained, lost in ((0, 5), (12, 40), (30, 31)):
        expected = stats.chi2.sf((gained - lost) ** 2 / (gained + lost), 1) / 2
        assert p_value(gained, lost, 500) == pytest.approx(expected)
        assert p_value(lost, gained, 500) == pytest.approx(1 - expected)


@pytest.mark.parametrize(("gained", "lost", "total", "margin"), [(3, 9, 100, 0.02), (0, 4, 50, 0.1)])
def test_with_a_margin_the_nuisance_is_estimated_by_maximum_likelihood(
    gained: int, lost: int, total: int, margin: float
) -> None:
    """The statistic's variance belongs to the likeliest shares among those that differ by the margin."""
    shares = np.linspace(1e-6, 1 - margin - 1e-6, 400_001)  # right in the candidate alone
    shares = shares[2 * shares + margin < 1]
    likelihood = (
        gained * np.log(shares)
        + lost * np.log(shares + margin)
        + (total - gained - lost) * np.log(1 - 2 * shares - margin)
    )
    share = shares[likelihood.argmax()]
    variance = total * (2 * share + margin - margin**2)
    expected = (gained - lost + total * margin) / np.sqrt(variance)
    assert tango_statistic(gained, lost, total, -margin) == pytest.approx(expected, abs=1e-3)


def test_interval_and_test_agree() -> None:
    found = compared(gained=10, lost=30, total=400)
    assert p_value(10, 30, 400, -found.difference.high) == pytest.approx(0.025)
    assert p_value(10, 30, 400, -found.difference.low) == pytest.approx(0.975)


def test_a_tolerated_loss_is_no_reason() -> None:
    assert compared(gained=10, lost=30, total=1000).worse
    assert not compared(gained=10, lost=30, total=1000, tolerated_loss=0.02).worse
    assert compared(gained=10, lost=80, total=1000, tolerated_loss=0.02).worse


def test_a_model_is_not_worse_than_itself() -> None:
    found = compared(gained=0, lost=0, total=50)
    assert (found.difference.value, found.p_value, found.worse) == (0, 0.5, False)
    assert found.difference.low == pytest.approx(-found.difference.high)


def test_the_ends_stay_on_the_scale() -> None:
    assert compared(gained=0, lost=43, total=43).difference.low == -1
    assert compared(gained=43, lost=0, total=43).difference.high == 1


def test_what_is_no_number_is_wrong() -> None:
    found = compare(np.zeros(3, np.int64), np.array([0.1, np.nan, 0.1]), np.array([0.1, 0.1, np.nan]))
    assert (found.only_candidate_right, found.only_baseline_right) == (1, 1)
