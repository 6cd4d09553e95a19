"""Applies all rules to a model and decides whether it is blessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from components.model_metrics import Comparison, metrics, paired_test
from components.prediction_table.table import Predictions
from components.quality_gate import baseline_rules, threshold_rules
from components.quality_gate.formatting import format_names, format_percent, format_points
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import (
    BOTH_CLASSES,
    NOT_OVERRIDABLE,
    PROBABILITIES,
    TEST_IMAGES,
    UNSEEN,
    Override,
    Rule,
    Verdict,
)

OVERRIDE = "override"

# The failed rule that comes first here is the main reason in the verdict.
_RULE_ORDER = (
    *(TEST_IMAGES, BOTH_CLASSES, UNSEEN, PROBABILITIES),
    *(threshold_rules.ACCURACY, "newest model", "best model"),
)


def judge(
    table: Predictions,
    limits: GateLimits,
    served: Mapping[str, Any] | None = None,
    model_bytes: int | None = None,
    override: Override | None = None,
) -> Verdict:
    """Decides whether a model is blessed.

    Args:
        table: Predictions of all models for the test images.
        limits: Settings of the gate.
        served: Content of the serving check's `report.json`; None skips that rule.
        model_bytes: Size of the model's files; None skips that rule.
        override: A person's decision to bless the model despite failed rules.
    """
    judgeable = threshold_rules.has_valid_predictions(table)
    comparisons = baseline_rules.compare_with_baselines(table, limits) if judgeable else {}
    rules = threshold_rules.data_rules(table)
    if judgeable:
        rules += [
            threshold_rules.accuracy_rule(table, limits),
            *baseline_rules.baseline_rules(table, comparisons, limits),
            *baseline_rules.smallest_loss_rules(table, comparisons, limits),
            threshold_rules.calibration_rule(table, limits),
            *threshold_rules.slice_rules(table, limits),
            *threshold_rules.consistency_rules(table, limits),
        ]
    if model_bytes is not None:
        rules.append(threshold_rules.size_rule(model_bytes, limits))
    if served is not None:
        rules.append(threshold_rules.serving_check_rule(served))
    failed = sorted((rule for rule in rules if rule.state == "failed"), key=_order)
    if override is not None:
        override, note = _apply_override(override, failed, table.model_uri)
        rules.append(note)
    overridden = override is not None and override.applied
    blessed = not failed or overridden
    return Verdict(
        blessed=blessed,
        best=blessed and not failed and baseline_rules.is_best(table, limits),
        sentence=_sentence(table, failed, override, comparisons, limits.max_accuracy_loss),
        rules=rules,
        override=override,
        pictures=len(table.labels),
        model_uri=table.model_uri,
        comparisons=comparisons,
        baselines={name: baseline.state for name, baseline in table.baselines.items()},
    )


def _order(rule: Rule) -> int:
    return _RULE_ORDER.index(rule.name) if rule.name in _RULE_ORDER else len(_RULE_ORDER)


def _apply_override(override: Override, failed: list[Rule], model_uri: str) -> tuple[Override, Rule]:
    """Returns the override with its effect, and a rule that notes it."""
    decision = f"{override.by} overrode the verdict at {override.at} (“{override.reason}”)"
    names = tuple(rule.name for rule in failed)
    final = [name for name in names if name in NOT_OVERRIDABLE]
    unseen = [name for name in names if override.rules is not None and name not in override.rules]
    if override.model is not None and override.model != model_uri:
        words = f"{decision} for another model ({override.model}); it does not apply to this model."
    elif final:
        words = f"{decision}; these failed rules cannot be overridden: {format_names(final)}."
    elif unseen:
        words = f"{decision}; it does not apply because more rules failed since: {format_names(unseen)}."
    elif not names:
        words = f"{decision}; no rule failed, so it had no effect."
    else:
        words = f"{decision}. Overridden rules: {', '.join(names)}."
        override = replace(override, applied=True, lifted=names)
    return override, Rule(OVERRIDE, "noted", None, None, words)


def _sentence(
    table: Predictions,
    failed: list[Rule],
    override: Override | None,
    comparisons: dict[str, Comparison],
    tolerated: float,
) -> str:
    if not failed:
        return f"Blessed: {_summary(table, comparisons, tolerated)}."
    reason = failed[0].reason
    if len(failed) > 1:
        reason += f"; also failed: {format_names([rule.name for rule in failed[1:]])}"
    if override is not None and override.applied:
        return f"Blessed by {override.by} (“{override.reason}”) despite failed rules: {reason}."
    return f"Refused: {reason}."


def _summary(table: Predictions, comparisons: dict[str, Comparison], tolerated: float) -> str:
    share, count = metrics.accuracy(table.labels, table.probabilities).value, len(table.labels)
    result = f"accuracy {format_percent(share)} on {count:,} test image{'' if count == 1 else 's'}"
    newest = baseline_rules.BASELINE_NAMES[baseline_rules.NEWEST]
    unreadable = table.baselines[baseline_rules.NEWEST].state == "unreadable"
    if not comparisons:
        missing = f"{newest} cannot be read" if unreadable else "no earlier blessed model to compare with"
        return f"{result}; {missing}"
    name = baseline_rules.NEWEST if baseline_rules.NEWEST in comparisons else baseline_rules.BEST
    result += f"; {_describe_difference(comparisons[name], baseline_rules.BASELINE_NAMES[name], tolerated)}"
    return f"{result}; {newest} cannot be read" if unreadable else result


def _describe_difference(comparison: Comparison, baseline: str, tolerated: float) -> str:
    """Describes how a model that passed compares with a baseline."""
    difference = comparison.difference.value
    if difference > 0:
        return f"{format_points(difference)} more than {baseline}"
    if difference == 0:
        return f"equal to {baseline}"
    less = f"{format_points(difference)} less than {baseline}"
    gained, lost = comparison.only_candidate_right, comparison.only_baseline_right
    if paired_test.p_value(gained, lost, comparison.pictures) >= comparison.level:
        return f"{less}, which is not significant"
    if -difference <= tolerated:
        return f"{less}, within the tolerated {format_points(tolerated)}"
    return f"{less}: {format_points(tolerated)} are tolerated and the rest is not significant"
