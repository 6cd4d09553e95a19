"""Whether a model is worse than the approved ones, or better than the best of them, on the same pictures."""

from __future__ import annotations

import math
from dataclasses import replace

from scipy import optimize, special

from components.model_metrics import Comparison, compare
from components.prediction_table.table import BaselineState, PredictionTable
from components.quality_gate.formatting import between, bound, pictures, points, sentence
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import Rule, failed

NEWEST, BEST = "newest", "best"
SMALLEST_LOSS = "smallest visible loss"

CALLED = {NEWEST: "the last blessed model", BEST: "the best model so far"}
_CURE = "bless this model with a reason (`catsdogs bless`), or set evaluation.missing_baseline to ignore"


def comparisons(table: PredictionTable, limits: GateLimits) -> dict[str, Comparison]:
    """Compares the candidate with the approved models that could be asked.

    One model is compared with at the whole level. Two share it by Hochberg's (1988) rule: each may refuse at
    half of it, and both together at all of it. It holds because both comparisons share the candidate, which
    makes them depend on each other positively (Sarkar 1998).
    """
    whole = {
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
    if len(whole) < 2 or all(each.worse for each in whole.values()):
        return whole
    return {name: replace(each, level=limits.comparisons_level / 2) for name, each in whole.items()}


def rules(table: PredictionTable, found: dict[str, Comparison], limits: GateLimits) -> list[Rule]:
    """Returns what is said of the newest and of the best model."""
    return [
        _compared(name, found[name], limits)
        if name in found
        else _absent(name, table.baselines[name], limits)
        for name in (NEWEST, BEST)
    ]


def is_best(table: PredictionTable, limits: GateLimits) -> bool:
    """Returns whether the candidate would be the best model so far: the first, or better beyond chance."""
    if table.baselines[BEST].state == "unreadable":
        return False  # nobody knows whether it is better than that one, whose place stays taken
    before = table.baseline_probabilities.get(BEST)
    if before is None:
        return True
    return compare(table.labels, before, table.probabilities, level=limits.champion_level).worse


def smallest_loss(table: PredictionTable, found: dict[str, Comparison], limits: GateLimits) -> list[Rule]:
    """Notes which loss the comparison would find with the wanted probability; nothing without a comparison.

    It counts on as many pictures that only the candidate gets right as the worse of the two does now
    (Connett, Smith and McHugh 1987, for a tolerated loss as well).
    """
    if not found:
        return []
    total = next(iter(found.values())).pictures
    gained = max(min(each.only_candidate_right, each.only_baseline_right) for each in found.values()) / total
    level = limits.comparisons_level / len(found)
    loss = visible_loss(total, gained, limits.max_accuracy_loss, level, limits.missed_loss_rate)
    size = "no size" if loss is None else f"{points(loss)} or more"
    words = (
        f"These {pictures(total)} would show a loss of {size} with a probability of "
        f"{bound(1 - limits.missed_loss_rate)}."
    )
    return [Rule(SMALLEST_LOSS, "noted", loss, None, words)]


def visible_loss(total: int, gained: float, tolerated: float, level: float, missed: float) -> float | None:
    """Returns the smallest loss of accuracy that the comparison finds; None where it would find none.

    Args:
        total: Number of pictures.
        gained: Share of pictures that only the candidate gets right; one picture is counted on at least.
        tolerated: Loss that is tolerated.
        level: Of the comparison.
        missed: How often the loss may be missed.
    """
    # Where none is seen, one or two may be usual, and each hides a part of a loss. Counting on one, the loss
    # is found as often as it says (enumerated exactly for 100 to 1,000 pictures) if up to two are usual.
    gained = max(gained, 1 / total)
    for_level, for_power = -float(special.ndtri(level)), -float(special.ndtri(missed))

    def excess(loss: float) -> float:
        differing = 2 * gained + loss
        needed = for_level * math.sqrt(max(0.0, differing - tolerated**2))
        needed += for_power * math.sqrt(max(0.0, differing - loss**2))
        return (loss - tolerated) * math.sqrt(total) - needed

    most = 1 - gained
    if excess(most) <= 0:
        return None
    return float(optimize.brentq(excess, tolerated, most))


def _compared(name: str, found: Comparison, limits: GateLimits) -> Rule:
    value, tolerated = found.difference.value, limits.max_accuracy_loss
    gained, lost = found.only_candidate_right, found.only_baseline_right
    counts = (
        f"of {pictures(found.pictures)} it gets {lost:,} wrong that {CALLED[name]} gets right and "
        f"{gained:,} the other way round"
    )
    if value > 0:
        size = f"a gain of {points(value)} ({between(found.difference)})"
    elif value < 0:
        size = f"a loss of {points(value)} ({between(found.difference, -1)})"
    else:
        size = f"no difference ({between(found.difference)} points)"
    allowed = f", where a loss of {points(tolerated)} is tolerated" if tolerated else ""
    such = "A model that loses just that" if tolerated else "An equal model"
    chance = (
        f"{such} would come out so low with a probability of {_probability(found.p_value)}; below "
        f"{_probability(found.level)}, that is no explanation."
    )
    label = f"{name} model"
    if found.worse:
        reason = f"{counts}, {size} that chance does not explain{allowed}"
        return failed(label, value, 0 - tolerated, reason, f". {chance}")
    explained = " that chance explains" if value < -tolerated else ""
    words = sentence(f"{counts}, {size}{explained}{allowed}. {chance}")
    return Rule(label, "passed", value, 0 - tolerated, words)


def _probability(value: float) -> str:
    if value < 1e-6:
        return "less than 0.0001 %"
    return f"{100 * value:.1f} %" if value >= 0.1 else f"{100 * value:.2g} %"


def _absent(name: str, baseline: BaselineState, limits: GateLimits) -> Rule:
    label, called = f"{name} model", CALLED[name]
    if baseline.state == "none":
        none = {NEWEST: "No other model has been blessed before", BEST: "There is no best model yet"}
        return Rule(label, "not judged", None, None, f"{none[name]}: there is nothing to compare with.")
    if baseline.state == "same":
        return Rule(label, "noted", None, None, "The best model so far is the last blessed one.")
    why = f"{called} ({baseline.uri}) cannot be compared with, because {baseline.reason}"
    if limits.missing_baseline == "ignore":
        words = sentence(f"{why}; it is done without, as evaluation.missing_baseline is ignore.")
        if name == BEST:
            words += " Until its files are back, no other model becomes the best one."
        return Rule(label, "not judged", None, None, words)
    return failed(label, None, None, why, f": {_CURE}.")
