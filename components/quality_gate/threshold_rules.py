"""Rules that judge a model on its own, without a baseline."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import compress
from typing import Any

import numpy as np
from scipy import special

from components.model_metrics import metrics
from components.prediction_table.table import Predictions
from components.quality_gate.formatting import (
    capitalize,
    format_image_count,
    format_interval,
    format_limit,
    format_names,
    format_percent,
)
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import (
    BOTH_CLASSES,
    PROBABILITIES,
    SERVING_CHECK,
    TEST_IMAGES,
    UNSEEN,
    Rule,
    failed_rule,
)

ACCURACY, CALIBRATION, GREY, SIZE = "accuracy", "calibration", "grey image", "model size"

_ROUNDING = 1e-12  # 9/10 must reach a floor of 0.9 despite floating-point rounding


def has_valid_predictions(table: Predictions) -> bool:
    """Returns True if there are test images and each has a valid probability."""
    return len(table.labels) > 0 and bool(_is_probability(table).all())


def data_rules(table: Predictions) -> list[Rule]:
    """Judges whether the test images and the predictions are valid."""
    total = len(table.labels)
    if not total:
        reason = "the test split has no images"
        cure = ": raise data.split.test, or provide a folder of test images."
        return [failed_rule(TEST_IMAGES, 0, 1, reason, cure)]
    return [
        Rule(TEST_IMAGES, "passed", total, 1, f"The test split has {format_image_count(total)}."),
        _both_classes(table),
        _unseen(table),
        _probabilities(table),
    ]


def _both_classes(table: Predictions) -> Rule:
    counts = np.bincount(table.labels, minlength=2)
    class_counts = " and ".join(
        f"{count:,} {name}" for count, name in zip(counts, table.class_names, strict=True)
    )
    if counts.all():
        return Rule(BOTH_CLASSES, "passed", int(counts.min()), 1, f"Test images by class: {class_counts}.")
    reason = f"all test images belong to one class ({class_counts})"
    return failed_rule(BOTH_CLASSES, 0, 1, reason, ": add images of both classes to test.")


def _unseen(table: Predictions) -> Rule:
    shared = int(table.seen.sum())
    if not shared:
        return Rule(UNSEEN, "passed", 0, 0, "No test image is also in train or eval.")
    names = [table.filenames[index] for index in np.flatnonzero(table.seen)]
    reason = (
        f"{format_image_count(shared)} of {len(table.labels):,} in test are also in train or eval "
        f"({format_names(names)})"
    )
    return failed_rule(UNSEEN, shared, 0, reason, ": remove them from test or from the other splits.")


def _probabilities(table: Predictions) -> Rule:
    invalid = np.flatnonzero(~_is_probability(table))
    if not len(invalid):
        return Rule(PROBABILITIES, "passed", 0, 0, "Every prediction is a valid probability.")
    names = [table.filenames[index] for index in invalid]
    value = table.probabilities[invalid[0]]
    reason = (
        f"its prediction for {format_image_count(len(invalid))} is not a probability "
        f"(for example {value:g} for {format_names(names, 1)})"
    )
    return failed_rule(
        PROBABILITIES, len(invalid), 0, reason, ": check the learning curves, the training may have diverged."
    )


def _is_probability(table: Predictions) -> np.ndarray:
    return (table.probabilities >= 0) & (table.probabilities <= 1)  # False for NaN


def accuracy_rule(table: Predictions, limits: GateLimits) -> Rule:
    """Judges the measured accuracy, without allowing for chance."""
    estimate = metrics.accuracy(table.labels, table.probabilities)
    floor = limits.min_accuracy
    result = (
        f"accuracy {format_percent(estimate.value, floor)} ({format_interval(estimate)}) "
        f"on {len(table.labels):,} test image{'' if len(table.labels) == 1 else 's'}"
    )
    if estimate.value >= floor - _ROUNDING:
        words = capitalize(f"{result}; the minimum is {format_limit(floor)}.")
        return Rule(ACCURACY, "passed", estimate.value, floor, words)
    return failed_rule(
        ACCURACY, estimate.value, floor, f"{result}, below the minimum of {format_limit(floor)}"
    )


def calibration_rule(table: Predictions, limits: GateLimits) -> Rule:
    """Judges the calibration error; fails if its whole interval is above the limit."""
    most = limits.max_calibration_error
    gaps, buckets = table.probabilities - table.labels, metrics.bucket_indices(table.probabilities)
    value = metrics.expected_calibration_error(gaps, buckets)
    result = f"calibration error {format_percent(value, most)}"
    if most is None:
        return Rule(CALIBRATION, "noted", value, None, capitalize(f"{result}; no limit is set."))
    if value <= most:  # the interval includes the value, so it need not be computed
        return Rule(
            CALIBRATION, "passed", value, most, capitalize(f"{result}; the maximum is {format_limit(most)}.")
        )
    estimate = metrics.calibration_error(table.labels, table.probabilities)
    if estimate.low <= most:
        words = capitalize(
            f"{result} ({format_interval(estimate)}); not significantly above the maximum of "
            f"{format_limit(most)}."
        )
        return Rule(CALIBRATION, "passed", value, most, words)
    return failed_rule(
        CALIBRATION,
        value,
        most,
        f"{result} ({format_interval(estimate)}), above the maximum of {format_limit(most)}",
    )


def slice_rules(table: Predictions, limits: GateLimits) -> list[Rule]:
    """Judges the accuracy of each slice; a slice fails if its accuracy is significantly below the minimum."""
    is_wrong = ~metrics.is_correct(table.labels, table.probabilities)
    counts = {}
    for feature, values in table.slices.items():
        totals, misses = Counter(values), Counter(compress(values, is_wrong))
        for value in sorted(totals):
            counts[f"{_slice_name(feature)} {value}"] = totals[value] - misses[value], totals[value]
    floor = limits.min_slice_accuracy
    fails = _failing(counts, floor, limits.slices_level, limits.min_slice_images)
    rules = []
    for name, (hits, total) in counts.items():
        result = (
            f"slice “{name}”: accuracy {format_percent(hits / total, floor)} on {format_image_count(total)}"
        )
        if name not in fails:
            small = f", too few to evaluate (minimum {limits.min_slice_images:,})."
            rules.append(
                Rule(f"slice {name}", "not judged", hits / total, floor, capitalize(f"{result}{small}"))
            )
        else:
            rules.append(_proportion_rule(f"slice {name}", result, hits / total, floor, fails[name]))
    return rules


def consistency_rules(table: Predictions, limits: GateLimits) -> list[Rule]:
    """Judges prediction consistency under each perturbation, and notes the prediction for a grey image."""
    labels = metrics.predicted_labels(table.probabilities)
    floor = limits.min_prediction_consistency
    counts = {}
    for perturbation, probabilities in table.changed.items():
        same = (metrics.predicted_labels(probabilities) == labels) & ~np.isnan(probabilities)
        counts[perturbation] = int(same[table.sampled].sum()), int(table.sampled.sum())
    fails = _failing(counts, floor, limits.perturbations_level, 1)
    rules = []
    for perturbation, (hits, total) in counts.items():
        name = f"{perturbation} images"
        if perturbation not in fails:
            rules.append(Rule(name, "not judged", None, floor, f"No image was {perturbation}."))
        else:
            share = hits / total
            result = (
                f"{perturbation}: predicted label unchanged for {hits:,} of {format_image_count(total)} "
                f"({format_percent(share, floor)})"
            )
            rules.append(_proportion_rule(name, result, share, floor, fails[perturbation]))
    return [*rules, _grey(table)]


def _slice_name(feature: str) -> str:
    """Returns the display name of a slicing feature: "brightness" for `image/brightness_range`."""
    name = feature.rpartition("/")[2].replace("_", " ").removesuffix(" range")
    return "class" if name == "text" else name


def _failing(
    counts: Mapping[str, tuple[int, int]], floor: float, level: float, smallest: int
) -> dict[str, bool]:
    """Returns for each proportion whether it is significantly below the floor (Holm's correction).

    Args:
        counts: Hits and total of each proportion.
        floor: Minimum of each proportion, 0 to 1.
        level: Family-wise error rate.
        smallest: Minimum total; proportions with a smaller total are left out.
    """
    tests = {
        name: binomial_p_value(hits, total, floor)
        for name, (hits, total) in counts.items()
        if total >= smallest
    }
    return dict(zip(tests, holm_rejections(list(tests.values()), level), strict=True))


def binomial_p_value(hits: int, total: int, floor: float) -> float:
    """Returns the p-value of the exact one-sided binomial test against the floor."""
    return float(special.bdtr(hits, total, floor))


def holm_rejections(p_values: list[float], level: float) -> list[bool]:
    """Returns which hypotheses are rejected at this family-wise level (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] >= level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def _proportion_rule(name: str, text: str, share: float, floor: float, fails: bool) -> Rule:
    if fails:
        reason = f"{text}, significantly below the minimum of {format_limit(floor)}"
        return failed_rule(name, share, floor, reason)
    is_below = share < floor - _ROUNDING
    bound = (
        f"not significantly below the minimum of {format_limit(floor)}"
        if is_below
        else (f"the minimum is {format_limit(floor)}")
    )
    return Rule(name, "passed", share, floor, capitalize(f"{text}; {bound}."))


def _grey(table: Predictions) -> Rule:
    second = table.class_names[1]
    if math.isnan(table.grey):
        return Rule(GREY, "noted", None, None, "No prediction for a uniform grey image.")
    words = f"A uniform grey image is classified as {second} with probability {table.grey:.2f}."
    return Rule(GREY, "noted", table.grey, None, words)


def size_rule(model_bytes: int, limits: GateLimits) -> Rule:
    """Judges the total size of the model's files, in MB."""
    megabytes, most = model_bytes / 1e6, limits.max_model_mb
    result = f"the model takes up {megabytes:.1f} MB"
    if most is None:
        return Rule(SIZE, "noted", megabytes, None, capitalize(f"{result}; no limit is set."))
    if megabytes <= most:
        return Rule(SIZE, "passed", megabytes, most, capitalize(f"{result}; the maximum is {most:g} MB."))
    return failed_rule(SIZE, megabytes, most, f"{result}, above the maximum of {most:g} MB")


def serving_check_rule(served: Mapping[str, Any]) -> Rule:
    """Returns the result of the serving check, with the highest 95th percentile of its latencies.

    Args:
        served: Content of the serving check's `report.json`.
    """
    allowed = served.get("limits", {}).get("max_latency_ms")
    times = {name: result["p95_ms"] for name, result in served.get("protocols", {}).items()}
    slowest = max(times.values(), default=None)
    if served["blessed"]:
        latencies = " and ".join(f"{milliseconds:.3g} ms over {name}" for name, milliseconds in times.items())
        words = (
            f"{served['server']} returns the expected predictions; p95 latency {latencies}; "
            f"the maximum is {allowed:g} ms."
        )
        return Rule(SERVING_CHECK, "passed", slowest, allowed, capitalize(words))
    first, *others = served.get("problems") or ["the serving check left no report"]
    more = "".join(f"; {problem}" for problem in others)
    return failed_rule(SERVING_CHECK, slowest, allowed, f"it must not be served: {first}", f"{more}.")
