"""TFDV's anomalies in words: split, feature, what was found, how often, what was expected, and the cure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.curated_schema.component import SCHEMA_FILE
from components.data_gate.statistics import Statistics, class_shares, feature, picture_count, value_counts
from trainer import features

Reason: TypeAlias = anomalies_pb2.AnomalyInfo.Reason

_PLAIN = {
    features.LABEL: "label",
    features.CLASS_NAME: "class name",
    features.FORMAT: "file format",
    features.MODE: "colour mode",
    features.BYTE_SIZE: "file size in bytes",
}
_EDIT_SCHEMA = f"change its expectation in {SCHEMA_FILE} if that is meant"
_CURES = {
    features.LABEL: "correct the source: a label is the position of the class in data.class_names",
    features.CLASS_NAME: "correct the source, or name its two classes in data.class_names",
    features.FORMAT: "convert these pictures to JPEG or PNG",
    features.MODE: f"convert these pictures to RGB, or {_EDIT_SCHEMA}",
    features.HEIGHT: "remove these pictures, or replace them by larger ones",
    features.WIDTH: "remove these pictures, or replace them by larger ones",
    features.BRIGHTNESS_RANGE: f"look whether they were stored or read wrongly, or {_EDIT_SCHEMA}",
}
_OTHER_CURE = f"correct the source, or {_EDIT_SCHEMA}"

# Anomalies that TFDV reports beside another one of the same feature, and that say nothing new.
_IMPLIED = {
    "FEATURE_TYPE_HIGH_UNIQUE": "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
    "INT_TYPE_NOT_INT_STRING": "UNEXPECTED_DATA_TYPE",
    "INVALID_FEATURE_SHAPE": "FEATURE_TYPE_LOW_FRACTION_PRESENT",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the data.

    Attributes:
        split: Where.
        topic: The feature in a plain word or two.
        sentence: All of it, with the cure.
    """

    split: str
    topic: str
    sentence: str


@dataclass(frozen=True)
class _Finding:
    split: str
    name: str
    reason: Reason
    statistics: Statistics
    baseline: Statistics | None
    expected: schema_pb2.Feature

    @property
    def plain(self) -> str:
        return plain_name(self.name)

    @property
    def pictures(self) -> int:
        return picture_count(self.statistics)

    @property
    def cure(self) -> str:
        return _CURES.get(self.name, _OTHER_CURE)


def plain_name(name: str) -> str:
    """Returns a feature's name as a person would say it: `image/brightness` is "brightness"."""
    return _PLAIN.get(name, name.rpartition("/")[2].replace("_", " "))


def describe(
    split: str,
    anomalies: anomalies_pb2.Anomalies,
    schema: schema_pb2.Schema,
    statistics: Statistics,
    baseline: Statistics | None = None,
) -> list[Problem]:
    """Puts the anomalies of one split into words.

    Args:
        split: Its name.
        anomalies: What TFDV found.
        schema: What the data were compared with.
        statistics: What TFDV looked at.
        baseline: Statistics of the last accepted data, where the anomalies come from a comparison with them.

    Returns:
        One problem for each; none if the data are as expected.
    """
    if anomalies.data_missing or not picture_count(statistics):
        return [Problem(split, "no pictures", f"split {split!r} is empty; {_more_pictures(schema)}")]
    problems = []
    if anomalies.HasField("dataset_anomaly_info"):
        for reason in anomalies.dataset_anomaly_info.reason:
            words = _dataset(split, reason, schema, statistics)
            problems.append(Problem(split, "number of pictures", words))
    columns = {column.name: column for column in schema.feature}
    for name, info in anomalies.anomaly_info.items():
        types = {_type(reason) for reason in info.reason}
        for reason in info.reason:
            if _IMPLIED.get(_type(reason)) in types:
                continue
            expected = columns.get(name, schema_pb2.Feature(name=name))
            finding = _Finding(split, name, reason, statistics, baseline, expected)
            words = _WORDS.get(_type(reason), _unforeseen)(finding)
            problems.append(Problem(split, finding.plain, words))
    return list(dict.fromkeys(problems))


def message(problems: Iterable[Problem]) -> str:
    """Returns the text of the error: one sentence, or a first sentence and one line for each problem."""
    problems = list(dict.fromkeys(problems))
    if len(problems) == 1:
        return f"The data were rejected: {problems[0].sentence}."
    topics = ", ".join(dict.fromkeys(f"{problem.topic} in {problem.split!r}" for problem in problems))
    lines = "".join(f"\n  - {problem.sentence}." for problem in problems)
    return f"The data were rejected for {len(problems)} reasons ({topics}):{lines}"


def _type(reason: Reason) -> str:
    return str(anomalies_pb2.AnomalyInfo.Type.Name(reason.type))


def _dataset(split: str, reason: Reason, schema: schema_pb2.Schema, statistics: Statistics) -> str:
    if _type(reason) != "DATASET_LOW_NUM_EXAMPLES":
        return f"split {split!r}: {_tfdv(reason)}; {_OTHER_CURE}"
    return f"split {split!r} has only {_pictures(picture_count(statistics))}; {_more_pictures(schema)}"


def _more_pictures(schema: schema_pb2.Schema) -> str:
    least = schema.dataset_constraints.min_examples_count
    return f"every split needs at least {_pictures(least)}; add some, or give it a larger share in data.split"


def _missing_class(finding: _Finding) -> str:
    counts = value_counts(finding.statistics, finding.name)
    absent = [name for name in finding.expected.string_domain.value if name not in counts]
    return (
        f"split {finding.split!r} has no picture of class {_quoted(absent)} ({_listed(counts)}); every split "
        f"needs both classes; add pictures of {_quoted(absent)}, or, if other splits have some, try another "
        "data.split.seed"
    )


def _unexpected_values(finding: _Finding) -> str:
    expected = finding.expected.string_domain.value
    least = finding.expected.distribution_constraints.min_domain_mass
    counts = value_counts(finding.statistics, finding.name)
    others = {value: count for value, count in counts.items() if value not in expected}
    limit = f", with at most {_percent(1 - least)} of others" if least < 1 else ""
    return (
        f"split {finding.split!r} has {_share(sum(others.values()), finding)} with an unexpected "
        f"{finding.plain}: {_listed(others)}; expected is {_quoted(expected)}{limit}; {finding.cure}"
    )


def _label_out_of_range(finding: _Finding) -> str:
    domain = finding.expected.int_domain
    counts = value_counts(finding.statistics, finding.name)
    others = {value: count for value, count in counts.items() if not domain.min <= int(value) <= domain.max}
    return (
        f"split {finding.split!r} has {_share(sum(others.values()), finding)} with a label out of range: "
        f"{_listed(others)}; expected is {domain.min} to {domain.max}; {finding.cure}"
    )


def _out_of_range(finding: _Finding) -> str:
    if finding.name == features.LABEL:
        return _label_out_of_range(finding)
    column = feature(finding.statistics, finding.name)
    assert column is not None  # else TFDV would not have found a value
    expected = getattr(finding.expected, str(finding.expected.WhichOneof("domain_info")))
    upper = f" to {expected.max:g}" if expected.HasField("max") else " or more"
    return (
        f"split {finding.split!r} has pictures with a {finding.plain} out of range: the values go from "
        f"{column.num_stats.min:g} to {column.num_stats.max:g}; expected is {expected.min:g}{upper}; "
        f"{finding.cure}"
    )


def _not_a_number(finding: _Finding) -> str:
    return (
        f"split {finding.split!r} has pictures whose {finding.plain} is not a number; expected is a value "
        f"for every picture; {finding.cure}"
    )


def _wrong_type(finding: _Finding) -> str:
    column = feature(finding.statistics, finding.name)
    found = "STRING" if column is None else type(column).Type.Name(column.type)
    expected = schema_pb2.FeatureType.Name(finding.expected.type)
    return (
        f"split {finding.split!r} has a {finding.plain} of type {found} in its pictures; expected is "
        f"{expected}; {finding.cure}"
    )


def _not_text(finding: _Finding) -> str:
    return (
        f"split {finding.split!r} has pictures whose {finding.plain} is not UTF-8 text; expected is "
        f"{_quoted(finding.expected.string_domain.value)}; {finding.cure}"
    )


def _absent(finding: _Finding) -> str:
    column = feature(finding.statistics, finding.name)
    common = column and getattr(column, str(column.WhichOneof("stats"))).common_stats
    present = common.num_non_missing if common else 0
    return (
        f"split {finding.split!r} has {_share(finding.pictures - present, finding)} without a "
        f"{finding.plain} ({finding.name}); expected is one value for every picture; {finding.cure}"
    )


def _not_one_value(finding: _Finding) -> str:
    return (
        f"split {finding.split!r} has pictures with more or fewer values than one for the {finding.plain} "
        f"({finding.name}); expected is exactly one; {finding.cure}"
    )


def _unknown_feature(finding: _Finding) -> str:
    return f"split {finding.split!r} has the unknown feature {finding.name}; add it to {SCHEMA_FILE}"


def _class_shift(finding: _Finding) -> str:
    assert finding.baseline is not None  # else there would be no drift
    now, before = class_shares(finding.statistics), class_shares(finding.baseline)
    moved = max([*now, *before], key=lambda name: abs(now.get(name, 0) - before.get(name, 0)))
    shift = _rounded_up(abs(now.get(moved, 0) - before.get(moved, 0)))
    return (
        f"the share of class {moved!r} in split {finding.split!r} is {_percent(now.get(moved, 0))} of "
        f"{_pictures(finding.pictures)}, and was {_percent(before.get(moved, 0))} of "
        f"{_pictures(picture_count(finding.baseline))} in the last accepted data; expected is a change of at "
        f"most {_percent(finding.expected.drift_comparator.infinity_norm.threshold)}; look whether pictures "
        "were lost or mislabelled, or, if the change is meant, accept it with --set "
        f"data.max_class_shift={shift} (catsdogs submit: --param max_class_shift={shift}) in the runs on "
        "these data"
    )


def _distribution_shift(finding: _Finding) -> str:
    threshold = finding.expected.drift_comparator.jensen_shannon_divergence.threshold
    return (
        f"the {finding.plain} of the pictures in split {finding.split!r} hardly overlaps with that of the "
        f"last accepted data: {_mean(finding.statistics, finding.name)} on average, and it was "
        f"{_mean(finding.baseline, finding.name)}; expected is a Jensen-Shannon divergence of at most "
        f"{threshold:g}; look whether the pictures were stored or read wrongly, or raise that threshold in "
        f"{SCHEMA_FILE} if the change is meant"
    )


def _unforeseen(finding: _Finding) -> str:
    return f"split {finding.split!r}, {finding.plain}: {_tfdv(finding.reason)}; {finding.cure}"


def _tfdv(reason: Reason) -> str:
    return f"{reason.short_description.strip().rstrip('.')}: {reason.description.strip().rstrip('.')}"


_WORDS: dict[str, Callable[[_Finding], str]] = {
    "FEATURE_TYPE_LOW_UNIQUE": _missing_class,
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": _unexpected_values,
    "ENUM_TYPE_INVALID_UTF8": _not_text,
    "INT_TYPE_SMALL_INT": _out_of_range,
    "INT_TYPE_BIG_INT": _out_of_range,
    "FLOAT_TYPE_SMALL_FLOAT": _out_of_range,
    "FLOAT_TYPE_BIG_FLOAT": _out_of_range,
    "FLOAT_TYPE_HAS_NAN": _not_a_number,
    "UNEXPECTED_DATA_TYPE": _wrong_type,
    "SCHEMA_MISSING_COLUMN": _absent,
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": _absent,
    "INVALID_FEATURE_SHAPE": _not_one_value,
    "SCHEMA_NEW_COLUMN": _unknown_feature,
    "COMPARATOR_L_INFTY_HIGH": _class_shift,
    "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH": _distribution_shift,
}


def _pictures(count: int) -> str:
    return f"{count:,} picture{'' if count == 1 else 's'}"


def _share(count: int, finding: _Finding) -> str:
    return f"{count:,} of {_pictures(finding.pictures)} ({_percent(count / finding.pictures)})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _quoted(values: Iterable[str]) -> str:
    return " or ".join(repr(str(value)) for value in values)


def _listed(counts: dict[str, int], most: int = 5) -> str:
    shown = [f"{value!r} ({count:,})" for value, count in list(counts.items())[:most]]
    return ", ".join(shown) + (f" and {len(counts) - most} others" if len(counts) > most else "")


def _mean(statistics: Statistics | None, name: str) -> str:
    column = statistics and feature(statistics, name)
    return f"{column.num_stats.mean:.2g}" if column else "unknown"


def _rounded_up(shift: float) -> str:
    return f"{min(math.ceil(shift * 100 + 1e-6) / 100, 1):g}"
