"""Turns TFDV's anomalies into an error message: split, feature, TFDV's description and advice."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.statistics import Statistics, image_count, value_counts

SCHEMA_FILE = "components/curated_schema/schema.pbtxt"
_MORE_IMAGES = "add images, or give the split a larger share in data.split"
_OUT_OF_RANGE = "remove or replace these images; a label is the index of its class in data.class_names"
_ONE_VALUE = "every example must have exactly one value of the expected type: correct the source"

# For each type of anomaly that the curated schema can produce.
_ADVICE = {
    "DATASET_LOW_NUM_EXAMPLES": _MORE_IMAGES,
    "FEATURE_TYPE_LOW_UNIQUE": "every split must have images of both classes: add images of the missing "
    "class or, if other splits have some, try another data.split.seed",
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": "convert or remove these images, or set their class names in "
    f"data.class_names; if the values are valid, extend the domain in {SCHEMA_FILE}",
    "INT_TYPE_SMALL_INT": _OUT_OF_RANGE,
    "INT_TYPE_BIG_INT": _OUT_OF_RANGE,
    "FLOAT_TYPE_SMALL_FLOAT": _OUT_OF_RANGE,
    "FLOAT_TYPE_BIG_FLOAT": _OUT_OF_RANGE,
    "UNEXPECTED_DATA_TYPE": _ONE_VALUE,
    "SCHEMA_MISSING_COLUMN": _ONE_VALUE,
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": _ONE_VALUE,
    "INVALID_FEATURE_SHAPE": _ONE_VALUE,
    "COMPARATOR_L_INFTY_HIGH": "look for missing or mislabelled images; if the change is intended, set "
    "data.max_class_shift (catsdogs submit: --param max_class_shift=…) above this distance for runs on "
    "this data",
    "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH": "look for corrupt or wrongly decoded images; if the "
    f"change is intended, raise the threshold in {SCHEMA_FILE}",
}
_DEFAULT_ADVICE = f"correct the source, or change {SCHEMA_FILE}"


def describe_anomalies(
    split: str, anomalies: anomalies_pb2.Anomalies, schema: schema_pb2.Schema, statistics: Statistics
) -> list[str]:
    """Describes the anomalies of one split.

    Args:
        split: Name of the split.
        anomalies: Anomalies that TFDV found in the split.
        schema: Schema that the split was validated against.
        statistics: Statistics of the split.

    Returns:
        One line for each feature with anomalies, and one for the split itself if it has any.
    """
    if anomalies.data_missing or not image_count(statistics):
        return [f"split {split!r} is empty; {_MORE_IMAGES}"]
    anomaly_infos = {name: anomalies.anomaly_info[name] for name in sorted(anomalies.anomaly_info)}
    if anomalies.HasField("dataset_anomaly_info"):
        anomaly_infos = {"number of images": anomalies.dataset_anomaly_info} | anomaly_infos
    columns = {column.name: column for column in schema.feature}
    return [
        f"split {split!r}, {name}: {_describe_anomaly(info, columns.get(name), statistics)}"
        for name, info in anomaly_infos.items()
    ]


def format_message(problems: Sequence[str]) -> str:
    """Returns the error message: one line for a single problem, otherwise a heading and a list."""
    if len(problems) == 1:
        return f"The data is rejected: {problems[0]}."
    lines = "".join(f"\n  - {problem}." for problem in problems)
    return f"The data is rejected for {len(problems)} reasons:{lines}"


def _describe_anomaly(
    info: anomalies_pb2.AnomalyInfo, column: schema_pb2.Feature | None, statistics: Statistics
) -> str:
    texts = [reason.description.rstrip(". ") for reason in info.reason]
    types = [anomalies_pb2.AnomalyInfo.Type.Name(reason.type) for reason in info.reason]
    if column and "FEATURE_TYPE_LOW_UNIQUE" in types:  # TFDV reports how many, not which
        texts.append(f"found: {', '.join(value_counts(statistics, column.name))}")
    domain = column.WhichOneof("domain_info") if column else None
    if domain:
        expected = text_format.MessageToString(getattr(column, domain), as_one_line=True)
        texts.append(f"the schema expects {expected}")
    texts += dict.fromkeys(_ADVICE[type_] for type_ in types if type_ in _ADVICE) or [_DEFAULT_ADVICE]
    return "; ".join(texts)
