"""Rules that compare a model with the last blessed and the best model on the same images."""

from __future__ import annotations

import math
from dataclasses import replace

from scipy import optimize, special

from components.model_metrics import Comparison, compare
from components.prediction_table.table import BaselineState, Predictions
from components.quality_gate.formatting import (
    capitalize,
    format_image_count,
    format_interval,
    format_limit,
    format_points,
)
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import Rule, failed_rule

NEWEST, BEST = "newest", "best"
SMALLEST_LOSS = "smallest detectable loss"

BASELINE_NAMES = {NEWEST: "the last blessed model", BEST: "the best model"}
_FIX = "bless this model with a reason (`catsdogs bless`), or set evaluation.missing_baseline to ignore"


def compare_with_baselines(table: Predictions, limits: GateLimits) -> dict[str, Comparison]:
    """Compares the candidate with each baseline that has predictions.

    A single comparison uses the full level. Two comparisons share it by Hochberg's (1988) procedure: each
    refuses at half of the level, or both at the full level. The procedure is valid because the comparisons
    share the candidate and are positively dependent (Sarkar 1998).
    """
    results = {
        name: compare(
            table.labels,
            table.probabilities,
            table.baseline_probabilities[name],
            limits.max_accuracy_loss,
            limits.comparisons_level,
        )
        for name in (NEWEST, BEST)
        if table.baselines[name].state == "compared"
    }
    if len(results) < 2 or all(each.worse for each in results.values()):
        return results
    return {name: replace(each, level=limits.comparisons_level / 2) for name, each in results.items()}


def baseline_rules(table: Predictions, comparisons: dict[str, Comparison], limits: GateLimits) -> list[Rule]:
    """Returns the rules `newest model` and `best model`."""
    return [
        _compared(name, comparisons[name], limits)
        if name in comparisons
        else _absent(name, table.baselines[name], limits)
        for name in (NEWEST, BEST)
    ]


def is_best(table: Predictions, limits: GateLimits) -> bool:
    """Returns True if the candidate is the first model or significantly better than the best one."""
    if table.baselines[BEST].state == "unreadable":
        return False  # cannot be compared, so the best model stays
    best = table.baseline_probabilities.get(BEST)
    if best is None:
        return True
    return compare(table.labels, best, table.probabilities, level=limits.best_model_level).worse


def smallest_loss_rules(
    table: Predictions, comparisons: dict[str, Comparison], limits: GateLimits
) -> list[Rule]:
    """Notes the smallest loss that the comparisons detect with the required power; empty without comparisons.

    Assumes the discordance observed now (Connett, Smith and McHugh 1987, extended to a tolerated loss).
    """
    if not comparisons:
        return []
    total = next(iter(comparisons.values())).pictures
    gained = (
        max(min(each.only_candidate_right, each.only_baseline_right) for each in comparisons.values()) / total
    )
    level = limits.comparisons_level / len(comparisons)
    loss = detectable_loss(total, gained, limits.max_accuracy_loss, level, limits.missed_loss_rate)
    size = "no loss" if loss is None else f"a loss of {format_points(loss)} or more"
    words = (
        f"With {format_image_count(total)}, the comparison detects {size} with a probability of "
        f"{format_limit(1 - limits.missed_loss_rate)}."
    )
    return [Rule(SMALLEST_LOSS, "noted", loss, None, words)]


def detectable_loss(total: int, gained: float, tolerated: float, level: float, missed: float) -> float | None:
    """Returns the smallest loss of accuracy that the comparison detects; None if it detects none.

    Args:
        total: Number of images.
        gained: Share of images that only the candidate classifies correctly; at least one image is assumed.
        tolerated: Tolerated loss of accuracy.
        level: Significance level of the comparison.
        missed: Probability of missing the loss.
    """
    # One such image is assumed even if none is observed: each hides a part of a loss. Exact enumeration for
    # 100 to 1,000 images confirms the stated power if up to two are expected.
    gained = max(gained, 1 / total)
    z_level, z_power = -float(special.ndtri(level)), -float(special.ndtri(missed))

    def excess(loss: float) -> float:
        discordant = 2 * gained + loss
        needed = z_level * math.sqrt(max(0.0, discordant - tolerated**2))
        needed += z_power * math.sqrt(max(0.0, discordant - loss**2))
        return (loss - tolerated) * math.sqrt(total) - needed

    largest = 1 - gained
    if excess(largest) <= 0:
        return None
    return float(optimize.brentq(excess, tolerated, largest))


def _compared(name: str, comparison: Comparison, limits: GateLimits) -> Rule:
    value, tolerated = comparison.difference.value, limits.max_accuracy_loss
    gained, lost = comparison.only_candidate_right, comparison.only_baseline_right
    counts = (
        f"of {format_image_count(comparison.pictures)}, {lost:,} are classified correctly only by "
        f"{BASELINE_NAMES[name]} and {gained:,} only by this model"
    )
    if value > 0:
        size = f"gain of {format_points(value)} ({format_interval(comparison.difference)})"
    elif value < 0:
        size = f"loss of {format_points(value)} ({format_interval(comparison.difference, -1)})"
    else:
        size = f"no difference ({format_interval(comparison.difference)} points)"
    allowed = f"; a loss of {format_points(tolerated)} is tolerated" if tolerated else ""
    reference = "a model with exactly the tolerated loss" if tolerated else "an equal model"
    chance = (
        f"The p-value for {reference} is {_probability(comparison.p_value)}; the rule fails below "
        f"{_probability(comparison.level)}."
    )
    label = f"{name} model"
    if comparison.worse:
        reason = f"{counts}, a significant {size}{allowed}"
        return failed_rule(label, value, 0 - tolerated, reason, f". {chance}")
    article = "" if value == 0 else "a "
    explained = ", which is not significant" if value < -tolerated else ""
    words = capitalize(f"{counts}, {article}{size}{explained}{allowed}. {chance}")
    return Rule(label, "passed", value, 0 - tolerated, words)


def _probability(value: float) -> str:
    if value < 1e-6:
        return "less than 0.0001 %"
    return f"{100 * value:.1f} %" if value >= 0.1 else f"{100 * value:.2g} %"


def _absent(name: str, baseline: BaselineState, limits: GateLimits) -> Rule:
    label, called = f"{name} model", BASELINE_NAMES[name]
    if baseline.state == "none":
        none = {NEWEST: "There is no earlier blessed model", BEST: "There is no best model yet"}
        return Rule(label, "not judged", None, None, f"{none[name]} to compare with.")
    if baseline.state == "same":
        return Rule(label, "noted", None, None, "The best model is the last blessed model.")
    why = f"{called} ({baseline.uri}) cannot be read: {baseline.reason}"
    if limits.missing_baseline == "ignore":
        words = capitalize(f"{why}; it is ignored because evaluation.missing_baseline is ignore.")
        if name == BEST:
            words += " No other model becomes the best model until its files are restored."
        return Rule(label, "not judged", None, None, words)
    return failed_rule(label, None, None, why, f": {_FIX}.")
