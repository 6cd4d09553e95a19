"""The prediction table as it is stored, and as it is read: what models said of every picture of `test`.

The folder is that of a TFX Examples artifact: gzipped `tf.Example`s of the columns that
`components.prediction_table.columns` names, under `Split-test/`, and beside that `about.json` on the models.
Pictures for which the candidate has no probability are kept beside the split, as TFMA stops at NaN.
"""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from components.prediction_table import columns
from trainer import features

ABOUT = "about.json"
SPLIT = "test"
SHARD = f"Split-{SPLIT}/predictions-00000-of-00001.gz"
SHARD_WITHOUT = "without-probability/predictions-00000-of-00001.gz"


@dataclass(frozen=True)
class BaselineState:
    """What became of an earlier model.

    Attributes:
        state: `compared`; `none`: no model has been blessed before; `unreadable`: one has, and cannot be
            asked any more; `same`: the best one is the newest one, and was asked once.
        model_id: The model's in ML Metadata; 0 where there is none.
        uri: Where the model was when it was blessed; empty where there is none.
        reason: Why it is unreadable, a phrase; else empty.
    """

    state: Literal["compared", "none", "unreadable", "same"]
    model_id: int = 0
    uri: str = ""
    reason: str = ""


@dataclass(frozen=True)
class About:
    """What `about.json` tells beside the rows.

    Attributes:
        class_names: The label's two values.
        model_id: The candidate's in ML Metadata.
        model_uri: Where the candidate is.
        baselines: By `newest` and `best`.
        grey: The candidate's answer for a uniformly grey picture.
    """

    class_names: tuple[str, str]
    model_id: int
    model_uri: str
    baselines: Mapping[str, BaselineState]
    grey: float


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """One entry a picture in every column, in the order of the file names.

    All probabilities are of the second class.

    Attributes:
        class_names: The label's two values.
        filenames: As the source calls the pictures.
        digests: Hexadecimal SHA-256 of the stored bytes.
        labels: The truth, int64 [N], 0 or 1.
        probabilities: The candidate's, float64 [N].
        slices: For each of `columns.SLICES`, the range or name that a picture falls under.
        seen: Whether the same bytes are in `train` or `eval`, bool [N].
        baselines: What became of the models to compare with, by `newest` and `best`.
        baseline_probabilities: Theirs, float64 [N], of those that could be asked; `best` also where it is
            the same model as `newest`.
        changed: The candidate's probabilities after each of `columns.CHANGES`, float64 [N]; NaN for pictures
            outside the sample.
        sampled: Whether a picture is in the sample that was asked about after changes, bool [N].
        grey: The candidate's answer for a uniformly grey picture.
        model_id: The candidate's in ML Metadata.
        model_uri: Where the candidate is.
    """

    class_names: tuple[str, str]
    filenames: list[str]
    digests: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    slices: dict[str, list[str]]
    seen: np.ndarray
    baselines: dict[str, BaselineState]
    baseline_probabilities: dict[str, np.ndarray]
    changed: dict[str, np.ndarray]
    sampled: np.ndarray
    grey: float
    model_id: int
    model_uri: str


def is_probability(answer: float) -> bool:
    """Returns whether it is one; what is no number is not."""
    return bool(0 <= answer <= 1)  # not numpy's


def encode(row: Mapping[str, Any]) -> bytes:
    """Returns a row as a serialized `tf.Example`; floats become 32-bit ones, which is what models answer."""
    example = tf.train.Example()
    for name, value in row.items():
        feature = example.features.feature[name]
        if isinstance(value, float):
            feature.float_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.bytes_list.value.append(value.encode() if isinstance(value, str) else value)
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def write_about(folder: str, about: About) -> None:
    """Writes `about.json` into the table's folder."""
    values = asdict(about)
    if not math.isfinite(about.grey):
        values["grey"] = None  # JSON has no such numbers
    with tf.io.gfile.GFile(posixpath.join(folder, ABOUT), "w") as file:
        file.write(json.dumps(values, indent=2) + "\n")


def write(folder: str, table: PredictionTable) -> None:
    """Writes a table as the component PredictionTable does; the folder is made where it is missing."""
    for shard, kept in ((SHARD, True), (SHARD_WITHOUT, False)):
        path = posixpath.join(folder, shard)
        tf.io.gfile.makedirs(posixpath.dirname(path))
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for index, answer in enumerate(table.probabilities):
                if is_probability(answer) is kept:
                    writer.write(encode(_row(table, index)))
    write_about(
        folder, About(table.class_names, table.model_id, table.model_uri, table.baselines, table.grey)
    )


def read(folder: str) -> PredictionTable:
    """Reads a table, its rows in the order of file names, and of digests where names are the same."""
    with tf.io.gfile.GFile(posixpath.join(folder, ABOUT)) as file:
        about = json.load(file)
    shards = (posixpath.join(folder, shard) for shard in (SHARD, SHARD_WITHOUT))
    files = [shard for shard in shards if tf.io.gfile.exists(shard)]
    records = tf.data.TFRecordDataset(files, compression_type="GZIP") if files else ()
    rows = sorted(
        (_decode(bytes(record.numpy())) for record in records),
        key=lambda row: (row[features.FILENAME], row[features.DIGEST]),
    )
    baselines = {name: BaselineState(**state) for name, state in about["baselines"].items()}
    # What was compared is there for every picture; without pictures it is an empty column all the same.
    answers = {
        name: _floats(rows, columns.BASELINES[name])
        for name, baseline in baselines.items()
        if baseline.state == "compared"
    }
    if baselines["best"].state == "same" and "newest" in answers:
        answers["best"] = answers["newest"]
    return PredictionTable(
        class_names=tuple(about["class_names"]),
        filenames=[row[features.FILENAME] for row in rows],
        digests=[row[features.DIGEST] for row in rows],
        labels=np.array([row[features.LABEL] for row in rows], np.int64),
        probabilities=_floats(rows, columns.PROBABILITY),
        slices={name: [row[name] for row in rows] for name in columns.SLICES},
        seen=np.array([row[columns.SEEN] for row in rows], bool),
        baselines=baselines,
        baseline_probabilities=answers,
        changed={name: _floats(rows, columns.changed(name)) for name in columns.CHANGES},
        sampled=np.array([columns.changed(columns.CHANGES[0]) in row for row in rows], bool),
        grey=math.nan if about["grey"] is None else about["grey"],
        model_id=about["model_id"],
        model_uri=about["model_uri"],
    )


def _row(table: PredictionTable, index: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        features.FILENAME: table.filenames[index],
        features.DIGEST: table.digests[index],
        features.LABEL: int(table.labels[index]),
        columns.PROBABILITY: float(table.probabilities[index]),
        columns.SEEN: int(table.seen[index]),
    }
    row |= {name: values[index] for name, values in table.slices.items()}
    for name, baseline in table.baselines.items():
        if baseline.state == "compared":
            row[columns.BASELINES[name]] = float(table.baseline_probabilities[name][index])
    if table.sampled[index]:
        row |= {columns.changed(name): float(values[index]) for name, values in table.changed.items()}
    return row


def _decode(record: bytes) -> dict[str, Any]:
    example = tf.train.Example.FromString(record)
    row = {}
    for name, feature in example.features.feature.items():
        [value] = getattr(feature, feature.WhichOneof("kind")).value
        row[name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    return row


def _floats(rows: list[dict[str, Any]], column: str) -> np.ndarray:
    return np.array([row.get(column, math.nan) for row in rows], np.float64)
