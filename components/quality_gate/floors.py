"""What a model must reach whatever other models do: over all pictures, and in every slice."""

from __future__ import annotations

import math
from collections import Counter
from itertools import compress

import numpy as np
from scipy import special

from components.figures import measures
from components.prediction_table.table import PredictionTable
from components.quality_gate.limits import Limits
from components.quality_gate.verdict import Rule
from components.quality_gate.wording import between, bound, percent, pictures, points

ACCURACY, CALIBRATION, GREY = "accuracy", "calibration", "grey picture"

_ROUNDING = 1e-12  # 0.9 is no binary number, and nine of ten reach it


def by_chance(hits: int, total: int, floor: float) -> float:
    """Returns how probable so few hits or fewer are where the floor is the truth (exact binomial test)."""
    return float(special.bdtr(hits, total, floor))


def holm(p_values: list[float], level: float) -> list[bool]:
    """Returns which of several tests fail, if all together may fail by chance at this level (Holm 1979)."""
    failed = [False] * len(p_values)
    for place, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] >= level / (len(p_values) - place):
            break
        failed[index] = True
    return failed


def accuracy(table: PredictionTable, limits: Limits) -> Rule:
    """Judges the measured accuracy, as it is."""
    figure = measures.accuracy(table.labels, table.probabilities)
    floor = limits.min_accuracy
    gets = f"it gets {percent(figure.value, floor)} of {pictures(len(table.labels))} right"
    if figure.value >= floor - _ROUNDING:
        words = f"I{gets[1:]} ({between(figure)}), and {bound(floor)} are asked."
        return Rule(ACCURACY, "passed", figure.value, floor, words)
    reason = f"{gets} ({between(figure)}) where {bound(floor)} are asked"
    return Rule(ACCURACY, "failed", figure.value, floor, f"I{reason[1:]}.", reason)


def slices(table: PredictionTable, limits: Limits) -> list[Rule]:
    """Judges each slice that is large enough: whether chance explains that it lies below the floor."""
    wrong = ~measures.correct(table.labels, table.probabilities)
    found = []
    for feature, values in table.slices.items():
        totals, misses = Counter(values), Counter(compress(values, wrong))
        name = slice_name(feature)
        found += [
            (f"{name} {value}", totals[value] - misses[value], totals[value]) for value in sorted(totals)
        ]
    tests = {
        name: by_chance(hits, total, limits.min_slice_accuracy)
        for name, hits, total in found
        if total >= limits.min_slice_pictures
    }
    fails = dict(zip(tests, holm(list(tests.values()), limits.slices_level), strict=True))
    return [_slice(*each, fails.get(each[0]), limits) for each in found]


def slice_name(feature: str) -> str:
    """Returns what a feature that slices are made by is called: `image/brightness_range` is "brightness"."""
    name = feature.rpartition("/")[2].replace("_", " ").removesuffix(" range")
    return "class" if name == "text" else name


def _slice(name: str, hits: int, total: int, failed: bool | None, limits: Limits) -> Rule:
    floor, share = limits.min_slice_accuracy, hits / total
    gets = f"of {pictures(total)} with {name} it gets {percent(share, floor)} right"
    asked = f"{bound(floor)} are asked"
    label = f"slice {name}"
    if failed is None:
        words = f"O{gets[1:]}: too small to judge, which takes {pictures(limits.min_slice_pictures)}."
        return Rule(label, "not judged", share, floor, words)
    if failed:
        reason = f"{gets}, fewer than the {bound(floor)} that are asked and than chance explains"
        return Rule(label, "failed", share, floor, f"O{reason[1:]}.", reason)
    below = "" if share >= floor - _ROUNDING else "; chance explains so few"
    return Rule(label, "passed", share, floor, f"O{gets[1:]}, and {asked}{below}.")


def calibration(table: PredictionTable, limits: Limits) -> Rule:
    """Judges whether probabilities mean what they say; fails where the whole interval is above the bound."""
    most = limits.max_calibration_error
    gaps, buckets = table.probabilities - table.labels, measures.buckets(table.probabilities)
    value = measures.bucket_error(gaps, buckets)
    off = f"its probabilities are off by {points(value)} on average"
    if most is None:
        return Rule(CALIBRATION, "noted", value, None, f"I{off[1:]}; no limit is set.")
    allowed = f"{100 * most:g} are allowed"
    if value <= most:  # then the interval reaches below the bound as well, and need not be drawn
        return Rule(CALIBRATION, "passed", value, most, f"I{off[1:]}, and {allowed}.")
    figure = measures.calibration_error(table.labels, table.probabilities)
    if figure.low <= most:
        words = f"I{off[1:]} ({between(figure)}), and {allowed}; chance explains the difference."
        return Rule(CALIBRATION, "passed", value, most, words)
    reason = f"{off} ({between(figure)}) where {allowed}"
    return Rule(CALIBRATION, "failed", value, most, f"I{reason[1:]}.", reason)


def kept_labels(table: PredictionTable, limits: Limits) -> list[Rule]:
    """Judges whether pictures keep their label when they are changed a little; and notes the grey one."""
    before = measures.answers(table.probabilities)
    floor = limits.min_kept_labels
    kept = {}
    for change, probabilities in table.changed.items():
        same = (measures.answers(probabilities) == before) & ~np.isnan(probabilities)
        kept[change] = int(same[table.sampled].sum()), int(table.sampled.sum())
    tests = {change: by_chance(*each, floor) for change, each in kept.items() if each[1]}
    fails = dict(zip(tests, holm(list(tests.values()), limits.changes_level), strict=True))
    return [
        *(_kept(change, *kept[change], fails.get(change), floor) for change in kept),
        _grey(table),
    ]


def _kept(change: str, hits: int, total: int, failed: bool | None, floor: float) -> Rule:
    label = f"{change} pictures"
    if failed is None:
        return Rule(label, "not judged", None, floor, f"No picture was {change}.")
    share = hits / total
    keep = f"{change}, {hits:,} of {pictures(total)} keep their label ({percent(share, floor)})"
    if failed:
        reason = f"{keep}, fewer than the {bound(floor)} that are asked and than chance explains"
        return Rule(label, "failed", share, floor, f"{reason.capitalize()}.", reason)
    below = "" if share >= floor - _ROUNDING else "; chance explains so few"
    return Rule(label, "passed", share, floor, f"{keep.capitalize()}, and {bound(floor)} are asked{below}.")


def _grey(table: PredictionTable) -> Rule:
    second = table.class_names[1]
    if math.isnan(table.grey):
        return Rule(GREY, "noted", None, None, "It was not asked about a picture of nothing but grey.")
    words = f"For a picture of nothing but grey it answers {second} with probability {table.grey:.2f}."
    return Rule(GREY, "noted", table.grey, None, words)
