"""TFDV's anomalies as the message of the error: split, feature, what TFDV found, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.statistics import Statistics, image_count, value_counts

SCHEMA_FILE = "components/curated_schema/schema.pbtxt"
_MORE_IMAGES = "add images, or give the split a larger share in data.split"
_OUT_OF_RANGE = "remove or replace these images; a label is the position of its class in data.class_names"
_ONE_VALUE = "every example needs exactly one value of this type: correct the source"

# For each anomaly that data of this pipeline can show; the curated schema provokes no others.
_ADVICE = {
    "DATASET_LOW_NUM_EXAMPLES": _MORE_IMAGES,
    "FEATURE_TYPE_LOW_UNIQUE": "every split needs images of both classes: add some of the missing one, or, "
    "if other splits have some, try another data.split.seed",
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": "convert or remove these images, or name their classes in "
    f"data.class_names; if they are meant, change the domain in {SCHEMA_FILE}",
    "INT_TYPE_SMALL_INT": _OUT_OF_RANGE,
    "INT_TYPE_BIG_INT": _OUT_OF_RANGE,
    "FLOAT_TYPE_SMALL_FLOAT": _OUT_OF_RANGE,
    "FLOAT_TYPE_BIG_FLOAT": _OUT_OF_RANGE,
    "UNEXPECTED_DATA_TYPE": _ONE_VALUE,
    "SCHEMA_MISSING_COLUMN": _ONE_VALUE,
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": _ONE_VALUE,
    "INVALID_FEATURE_SHAPE": _ONE_VALUE,
    "COMPARATOR_L_INFTY_HIGH": "look for lost or mislabelled images; if the change is meant, set "
    "data.max_class_shift (catsdogs submit: --param max_class_shift=…) above this distance in the runs on "
    "these data",
    "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH": "look for images that were stored or read wrongly; if the "
    f"change is meant, raise the threshold in {SCHEMA_FILE}",
}
_OTHER_ADVICE = f"correct the source, or change what {SCHEMA_FILE} expects"


def describe(
    split: str, anomalies: anomalies_pb2.Anomalies, schema: schema_pb2.Schema, statistics: Statistics
) -> list[str]:
    """Describes the anomalies of one split.

    Args:
        split: Its name.
        anomalies: What TFDV found.
        schema: What the data were compared with.
        statistics: What TFDV looked at.

    Returns:
        One line for every feature with anomalies, and one for the split itself; none if the data are as
        expected.
    """
    if anomalies.data_missing or not image_count(statistics):
        return [f"split {split!r} is empty; {_MORE_IMAGES}"]
    found = {name: anomalies.anomaly_info[name] for name in sorted(anomalies.anomaly_info)}
    if anomalies.HasField("dataset_anomaly_info"):
        found = {"number of images": anomalies.dataset_anomaly_info} | found
    columns = {column.name: column for column in schema.feature}
    return [
        f"split {split!r}, {name}: {_described(info, columns.get(name), statistics)}"
        for name, info in found.items()
    ]


def message(problems: Sequence[str]) -> str:
    """Returns the text of the error: one line, or a first line and one for each problem."""
    if len(problems) == 1:
        return f"The data were rejected: {problems[0]}."
    lines = "".join(f"\n  - {problem}." for problem in problems)
    return f"The data were rejected for {len(problems)} reasons:{lines}"


def _described(
    info: anomalies_pb2.AnomalyInfo, column: schema_pb2.Feature | None, statistics: Statistics
) -> str:
    texts = [reason.description.rstrip(". ") for reason in info.reason]
    types = [anomalies_pb2.AnomalyInfo.Type.Name(reason.type) for reason in info.reason]
    if column and "FEATURE_TYPE_LOW_UNIQUE" in types:  # TFDV says how many, not which
        texts.append(f"found: {', '.join(value_counts(statistics, column.name))}")
    domain = column.WhichOneof("domain_info") if column else None
    if domain:
        expected = text_format.MessageToString(getattr(column, domain), as_one_line=True)
        texts.append(f"the schema expects {expected}")
    texts += dict.fromkeys(_ADVICE[type_] for type_ in types if type_ in _ADVICE) or [_OTHER_ADVICE]
    return "; ".join(texts)
