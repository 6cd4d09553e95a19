"""Which rules of a verdict are shown: all but some of the many about slices that nothing is to be said of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from components.evaluation_report.json_values import Facts
from components.prediction_table.columns import SLICES
from components.quality_gate.floors import slice_name

RULES_SHOWN = 40  # about the slices of one feature: a source may have any number of folders
_SLICE = "slice "


@dataclass(frozen=True)
class ShownRules:
    """The rules of a verdict, as far as they are shown.

    Attributes:
        loud: Those that failed, and then the others that are not about slices.
        failed_left_out: How many failed slices are left out of `loud`, those that failed by least.
        quiet: About slices that did not fail: judged before too small ones, the smallest margin first.
        slices: How many such slices there are.
        too_small: How many of these are too small to judge.
    """

    loud: list[Facts]
    failed_left_out: int
    quiet: list[Facts]
    slices: int
    too_small: int

    @property
    def left_out(self) -> int:
        """How many of the quiet rules are left out."""
        return self.slices - len(self.quiet)


def shown(verdict: Facts | None) -> ShownRules:
    """Chooses from the rules of a verdict, as `report.json` has it; None has no rules."""
    rules = (verdict or {}).get("rules", [])
    others = [rule for rule in rules if not _of_slice(rule)]
    failed = [rule for rule in rules if _of_slice(rule) and rule["state"] == "failed"]
    quiet = [rule for rule in rules if _of_slice(rule) and rule["state"] != "failed"]
    worst = _some(failed)
    return ShownRules(
        loud=sorted([*others, *worst], key=lambda rule: bool(rule["state"] != "failed")),
        failed_left_out=len(failed) - len(worst),
        quiet=_some(quiet),
        slices=len(quiet),
        too_small=sum(rule["state"] == "not judged" for rule in quiet),
    )


def _of_slice(rule: Facts) -> bool:
    return str(rule["name"]).startswith(_SLICE)


def _some(rules: Iterable[Facts]) -> list[Facts]:
    """Returns so many rules of each feature, the smallest margins first."""
    by_margin = sorted(rules, key=lambda rule: (rule["state"] == "not judged", _margin(rule)))
    prefixes = [f"{_SLICE}{slice_name(feature)} " for feature in SLICES]
    return [
        rule
        for prefix in prefixes
        for rule in islice((one for one in by_margin if one["name"].startswith(prefix)), RULES_SHOWN)
    ]


def _margin(rule: Facts) -> float:
    return (rule["figure"] or 0.0) - (rule["bound"] or 0.0)
