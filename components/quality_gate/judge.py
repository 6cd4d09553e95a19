"""The whole verdict on a model, from the prediction table and what the serving check found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from components.model_metrics import Comparison, metrics, paired_test
from components.prediction_table.table import PredictionTable
from components.quality_gate import baseline_rules, rules
from components.quality_gate.formatting import listed, percent, pictures, points
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import (
    ANSWERS,
    BOTH_CLASSES,
    NEVER_LIFTED,
    TEST_PICTURES,
    UNSEEN,
    Override,
    Rule,
    Verdict,
)

OVERRIDE = "override"

# Which failure is told first: the plainest one.
_ORDER = (
    *(TEST_PICTURES, BOTH_CLASSES, UNSEEN, ANSWERS),
    *(rules.ACCURACY, "newest model", "best model"),
)


def judge(
    table: PredictionTable,
    limits: GateLimits,
    served: Mapping[str, Any] | None = None,
    model_bytes: int | None = None,
    override: Override | None = None,
) -> Verdict:
    """Decides whether a model is blessed, and says why.

    Args:
        table: What the models said of the test pictures.
        limits: What is asked of the model.
        served: The serving check's `report.json`; None leaves that rule out.
        model_bytes: Size of the model's files; None leaves that rule out.
        override: A person's decision to bless it all the same.
    """
    judged = rules.usable(table)
    compared = baseline_rules.comparisons(table, limits) if judged else {}
    found = rules.of_data(table)
    if judged:
        found += [
            rules.accuracy(table, limits),
            *baseline_rules.rules(table, compared, limits),
            *baseline_rules.smallest_loss(table, compared, limits),
            rules.calibration(table, limits),
            *rules.slices(table, limits),
            *rules.kept_labels(table, limits),
        ]
    if model_bytes is not None:
        found.append(rules.size(model_bytes, limits))
    if served is not None:
        found.append(rules.serving_check(served))
    failed = sorted((rule for rule in found if rule.state == "failed"), key=_place)
    if override is not None:
        override, note = _decide(override, failed, table.model_uri)
        found.append(note)
    lifted = override is not None and override.applied
    blessed = not failed or lifted
    return Verdict(
        blessed=blessed,
        best=blessed and not failed and baseline_rules.is_best(table, limits),
        sentence=_sentence(table, failed, override, compared, limits.max_accuracy_loss),
        rules=found,
        override=override,
        pictures=len(table.labels),
        model_uri=table.model_uri,
        comparisons=compared,
        baselines={name: baseline.state for name, baseline in table.baselines.items()},
    )


def _place(rule: Rule) -> int:
    return _ORDER.index(rule.name) if rule.name in _ORDER else len(_ORDER)


def _decide(override: Override, failed: list[Rule], model_uri: str) -> tuple[Override, Rule]:
    """Returns the override with what it lifts, and what is said of it."""
    told = f"{override.by} overrode the verdict at {override.at} (“{override.reason}”)"
    names = tuple(rule.name for rule in failed)
    final = [name for name in names if name in NEVER_LIFTED]
    unseen = [name for name in names if override.rules is not None and name not in override.rules]
    if override.model is not None and override.model != model_uri:
        words = f"{told} for another model ({override.model}): that does not count for this one."
    elif final:
        words = f"{told}, and that cannot be: {listed(final)} failed, which nobody may set aside."
    elif unseen:
        words = f"{told}, and that does not count, as since then {listed(unseen)} failed, too."
    elif not names:
        words = f"{told}, and there was nothing to set aside."
    else:
        words = f"{told}, which sets aside: {', '.join(names)}."
        override = replace(override, applied=True, lifted=names)
    return override, Rule(OVERRIDE, "noted", None, None, words)


def _sentence(
    table: PredictionTable,
    failed: list[Rule],
    override: Override | None,
    compared: dict[str, Comparison],
    tolerated: float,
) -> str:
    if not failed:
        return f"Blessed: {_praise(table, compared, tolerated)}."
    why = failed[0].reason
    if len(failed) > 1:
        why += f"; {listed([rule.name for rule in failed[1:]])} failed, too"
    if override is not None and override.applied:
        return f"Blessed by {override.by} (“{override.reason}”) against the rules: {why}."
    return f"Refused: {why}."


def _praise(table: PredictionTable, compared: dict[str, Comparison], tolerated: float) -> str:
    share = metrics.accuracy(table.labels, table.probabilities).value
    gets = f"it gets {percent(share)} of {pictures(len(table.labels))} right"
    newest = baseline_rules.CALLED[baseline_rules.NEWEST]
    unreadable = table.baselines[baseline_rules.NEWEST].state == "unreadable"
    if not compared:
        why = f"{newest} cannot be read" if unreadable else "no other was blessed before"
        return f"{gets}, and {why}, so that there was nothing to compare it with"
    name = baseline_rules.NEWEST if baseline_rules.NEWEST in compared else baseline_rules.BEST
    beside = f"{gets}, {_beside(compared[name], baseline_rules.CALLED[name], tolerated)}"
    return f"{beside}, and {newest} cannot be read" if unreadable else beside


def _beside(found: Comparison, called: str, tolerated: float) -> str:
    """Returns how a model that passed compares with an approved one."""
    difference = found.difference.value
    if difference > 0:
        return f"{points(difference)} more than {called}"
    if difference == 0:
        return f"as many as {called}"
    fewer = f"{points(difference)} fewer than {called}"
    if (
        paired_test.p_value(found.only_candidate_right, found.only_baseline_right, found.pictures)
        >= found.level
    ):
        return f"and chance explains that it is {fewer}"
    if -difference <= tolerated:
        return f"{fewer}, which is within the {points(tolerated)} that are tolerated"
    return f"{fewer}, of which {points(tolerated)} are tolerated and chance explains the rest"
