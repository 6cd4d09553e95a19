"""What a model must keep to whatever other models do, each rule with what was measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import compress
from typing import Any

import numpy as np
from scipy import special

from components.model_metrics import metrics
from components.prediction_table.table import PredictionTable
from components.quality_gate.formatting import between, bound, listed, percent, pictures, points, sentence
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import (
    ANSWERS,
    BOTH_CLASSES,
    SERVING_CHECK,
    TEST_PICTURES,
    UNSEEN,
    Rule,
    failed,
)

ACCURACY, CALIBRATION, GREY, SIZE = "accuracy", "calibration", "grey picture", "model size"

_ROUNDING = 1e-12  # 0.9 is no binary number, and nine of ten reach it


def usable(table: PredictionTable) -> bool:
    """Returns whether there are pictures, and a probability for each."""
    return len(table.labels) > 0 and bool(_is_probability(table).all())


def of_data(table: PredictionTable) -> list[Rule]:
    """Judges whether the test pictures are fit to judge a model on; nothing else can be where they lack."""
    total = len(table.labels)
    if not total:
        reason = "there is not one test picture to judge it on"
        cure = ": give test a share in data.split, or pictures of its own."
        return [failed(TEST_PICTURES, 0, 1, reason, cure)]
    return [
        Rule(TEST_PICTURES, "passed", total, 1, f"It is judged on {pictures(total)} of the split test."),
        _both_classes(table),
        _unseen(table),
        _answers(table),
    ]


def _both_classes(table: PredictionTable) -> Rule:
    counts = np.bincount(table.labels, minlength=2)
    told = " and ".join(f"{count:,} of {name}" for count, name in zip(counts, table.class_names, strict=True))
    if counts.all():
        return Rule(BOTH_CLASSES, "passed", int(counts.min()), 1, f"There are {told}.")
    reason = f"all test pictures are of one class ({told})"
    return failed(BOTH_CLASSES, 0, 1, reason, ": put pictures of both into test.")


def _unseen(table: PredictionTable) -> Rule:
    shared = int(table.seen.sum())
    if not shared:
        return Rule(UNSEEN, "passed", 0, 0, "None of the test pictures was in training.")
    names = [table.filenames[index] for index in np.flatnonzero(table.seen)]
    are = "is" if shared == 1 else "are"
    reason = f"{pictures(shared)} of {len(table.labels):,} in test {are} in training, too ({listed(names)})"
    return failed(UNSEEN, shared, 0, reason, ": remove them from test or from the other splits.")


def _answers(table: PredictionTable) -> Rule:
    bad = np.flatnonzero(~_is_probability(table))
    if not len(bad):
        return Rule(ANSWERS, "passed", 0, 0, "Every answer is a probability.")
    names = [table.filenames[index] for index in bad]
    value = table.probabilities[bad[0]]
    reason = (
        f"its answer for {pictures(len(bad))} is no probability (such as {value:g} for {listed(names, 1)})"
    )
    return failed(
        ANSWERS, len(bad), 0, reason, ": look at the learning curves, the training may have diverged."
    )


def _is_probability(table: PredictionTable) -> np.ndarray:
    return (table.probabilities >= 0) & (table.probabilities <= 1)  # false for what is no number


def accuracy(table: PredictionTable, limits: GateLimits) -> Rule:
    """Judges the measured accuracy, as it is."""
    figure = metrics.accuracy(table.labels, table.probabilities)
    floor = limits.min_accuracy
    gets = (
        f"it gets {percent(figure.value, floor)} of {pictures(len(table.labels))} right ({between(figure)})"
    )
    if figure.value >= floor - _ROUNDING:
        words = sentence(f"{gets}, and {bound(floor)} are asked.")
        return Rule(ACCURACY, "passed", figure.value, floor, words)
    return failed(ACCURACY, figure.value, floor, f"{gets} where {bound(floor)} are asked")


def calibration(table: PredictionTable, limits: GateLimits) -> Rule:
    """Judges whether probabilities mean what they say; fails where the whole interval is above the bound."""
    most = limits.max_calibration_error
    gaps, buckets = table.probabilities - table.labels, metrics.buckets(table.probabilities)
    value = metrics.bucket_error(gaps, buckets)
    off = f"its probabilities are off by {points(value)} on average"
    if most is None:
        return Rule(CALIBRATION, "noted", value, None, sentence(f"{off}; no limit is set."))
    allowed = f"{100 * most:g} are allowed"
    if value <= most:  # then the interval reaches below the bound as well, and need not be drawn
        return Rule(CALIBRATION, "passed", value, most, sentence(f"{off}, and {allowed}."))
    figure = metrics.calibration_error(table.labels, table.probabilities)
    if figure.low <= most:
        words = sentence(f"{off} ({between(figure)}), and {allowed}; chance explains the difference.")
        return Rule(CALIBRATION, "passed", value, most, words)
    return failed(CALIBRATION, value, most, f"{off} ({between(figure)}) where {allowed}")


def slices(table: PredictionTable, limits: GateLimits) -> list[Rule]:
    """Judges each slice that is large enough: whether chance explains that it lies below the floor."""
    wrong = ~metrics.correct(table.labels, table.probabilities)
    found = {}
    for feature, values in table.slices.items():
        totals, misses = Counter(values), Counter(compress(values, wrong))
        for value in sorted(totals):
            found[f"{_slice_name(feature)} {value}"] = totals[value] - misses[value], totals[value]
    floor = limits.min_slice_accuracy
    fails = _fails(found, floor, limits.slices_level, limits.min_slice_images)
    rules = []
    for name, (hits, total) in found.items():
        gets = f"of {pictures(total)} with {name} it gets {percent(hits / total, floor)} right"
        if name not in fails:
            small = f": too small to judge, which takes {pictures(limits.min_slice_images)}."
            rules.append(Rule(f"slice {name}", "not judged", hits / total, floor, sentence(f"{gets}{small}")))
        else:
            rules.append(_of_share(f"slice {name}", gets, hits / total, floor, fails[name]))
    return rules


def kept_labels(table: PredictionTable, limits: GateLimits) -> list[Rule]:
    """Judges whether pictures keep their label when they are changed a little; and notes the grey one."""
    before = metrics.answers(table.probabilities)
    floor = limits.min_prediction_consistency
    kept = {}
    for change, probabilities in table.changed.items():
        same = (metrics.answers(probabilities) == before) & ~np.isnan(probabilities)
        kept[change] = int(same[table.sampled].sum()), int(table.sampled.sum())
    fails = _fails(kept, floor, limits.changes_level, 1)
    rules = []
    for change, (hits, total) in kept.items():
        label = f"{change} pictures"
        if change not in fails:
            rules.append(Rule(label, "not judged", None, floor, f"No picture was {change}."))
        else:
            share = hits / total
            keep = f"{change}, {hits:,} of {pictures(total)} keep their label ({percent(share, floor)})"
            rules.append(_of_share(label, keep, share, floor, fails[change]))
    return [*rules, _grey(table)]


def _slice_name(feature: str) -> str:
    """Returns what a feature that slices are made by is called: `image/brightness_range` is "brightness"."""
    name = feature.rpartition("/")[2].replace("_", " ").removesuffix(" range")
    return "class" if name == "text" else name


def _fails(
    found: Mapping[str, tuple[int, int]], floor: float, level: float, smallest: int
) -> dict[str, bool]:
    """Returns which shares are below the floor beyond chance, all together at a level.

    Args:
        found: Hits and total of each share.
        floor: What each share should be, 0 to 1.
        level: How often one of them may fail by chance.
        smallest: Total from which a share is judged; the others are left out.
    """
    tests = {name: by_chance(*counts, floor) for name, counts in found.items() if counts[1] >= smallest}
    return dict(zip(tests, holm(list(tests.values()), level), strict=True))


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


def _of_share(label: str, text: str, share: float, floor: float, fails: bool) -> Rule:
    if fails:
        reason = f"{text}, fewer than the {bound(floor)} that are asked and than chance explains"
        return failed(label, share, floor, reason)
    below = "" if share >= floor - _ROUNDING else "; chance explains so few"
    return Rule(label, "passed", share, floor, sentence(f"{text}, and {bound(floor)} are asked{below}."))


def _grey(table: PredictionTable) -> Rule:
    second = table.class_names[1]
    if math.isnan(table.grey):
        return Rule(GREY, "noted", None, None, "It was not asked about a picture of nothing but grey.")
    words = f"For a picture of nothing but grey it answers {second} with probability {table.grey:.2f}."
    return Rule(GREY, "noted", table.grey, None, words)


def size(model_bytes: int, limits: GateLimits) -> Rule:
    """Judges how large the model's files are, in MB."""
    megabytes, most = model_bytes / 1e6, limits.max_model_mb
    take = f"the model's files take {megabytes:.1f} MB"
    if most is None:
        return Rule(SIZE, "noted", megabytes, None, sentence(f"{take}; no limit is set."))
    if megabytes <= most:
        return Rule(SIZE, "passed", megabytes, most, sentence(f"{take}, and {most:g} MB are allowed."))
    return failed(SIZE, megabytes, most, f"{take} where {most:g} MB are allowed")


def serving_check(served: Mapping[str, Any]) -> Rule:
    """Returns the serving check's own verdict, with its latency beside the limit.

    Args:
        served: What `components.serving_check.report` wrote.
    """
    allowed = served.get("limits", {}).get("max_latency_ms")
    times = {name: figures["p95_ms"] for name, figures in served.get("protocols", {}).items()}
    slowest = max(times.values(), default=None)
    if served["blessed"]:
        told = " and ".join(f"{milliseconds:.4g} ms over {name}" for name, milliseconds in times.items())
        words = (
            f"{served['server']} answers as the model was judged, 95 of 100 pictures within {told}; "
            f"{allowed:g} ms are allowed."
        )
        return Rule(SERVING_CHECK, "passed", slowest, allowed, sentence(words))
    first, *others = served.get("problems") or ["the serving check left no report"]
    more = "".join(f"; {problem}" for problem in others)
    return failed(SERVING_CHECK, slowest, allowed, f"it must not be served: {first}", f"{more}.")
