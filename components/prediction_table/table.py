"""Reads and writes the prediction table: the predictions of all models for every test image.

The folder is that of a TFX Examples artifact: gzipped `tf.Example`s of the columns that
`components.prediction_table.columns` names, under `Split-test/`, and `about.json` with the models. Images
without a valid probability of the candidate are in a folder outside the split, because TFMA fails on NaN.
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

METADATA_FILE = "about.json"
SPLIT = "test"
SHARD = f"Split-{SPLIT}/predictions-00000-of-00001.gz"
INVALID_SHARD = "without-probability/predictions-00000-of-00001.gz"


@dataclass(frozen=True)
class BaselineState:
    """Whether a baseline was compared, and why not.

    Attributes:
        state: `compared`; `none`: no model was blessed before; `unreadable`: the model cannot be loaded;
            `same`: the best model is also the newest one.
        model_id: Id of the model in ML Metadata; 0 without a model.
        uri: URI at which the model was blessed; empty without a model.
        reason: Why the model is unreadable, as a phrase; otherwise empty.
    """

    state: Literal["compared", "none", "unreadable", "same"]
    model_id: int = 0
    uri: str = ""
    reason: str = ""


@dataclass(frozen=True)
class TableMetadata:
    """Content of `about.json`.

    Attributes:
        class_names: Names of the labels 0 and 1.
        model_id: Id of the candidate in ML Metadata.
        model_uri: URI of the candidate.
        baselines: State of each baseline, by `newest` and `best`.
        grey: The candidate's prediction for a uniformly grey image.
    """

    class_names: tuple[str, str]
    model_id: int
    model_uri: str
    baselines: Mapping[str, BaselineState]
    grey: float


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for N test images, ordered by file name.

    All probabilities are of the second class.

    Attributes:
        class_names: Names of the labels 0 and 1.
        filenames: File names from the data source.
        digests: Hexadecimal SHA-256 of the encoded images.
        labels: True labels, 0 or 1, int64 [N].
        probabilities: Probabilities of the candidate, float64 [N].
        slices: For each of `columns.SLICES`, the slice of each image.
        seen: True if the same bytes are in `train` or `eval`, bool [N].
        baselines: State of each baseline, by `newest` and `best`.
        baseline_probabilities: Probabilities of each compared baseline, float64 [N]; `best` is also present
            if it is the same model as `newest`.
        changed: The candidate's probabilities under each of `columns.PERTURBATIONS`, float64 [N]; NaN for
            images outside the sample.
        sampled: True if the image is in the perturbed sample, bool [N].
        grey: The candidate's prediction for a uniformly grey image.
        model_id: Id of the candidate in ML Metadata.
        model_uri: URI of the candidate.
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


def is_probability(value: float) -> bool:
    """Returns True for values from 0 to 1; False for NaN."""
    return bool(0 <= value <= 1)  # not a numpy.bool


def encode(row: Mapping[str, Any]) -> bytes:
    """Returns a row as a serialized `tf.Example`; floats are stored as float32."""
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


def write_metadata(folder: str, metadata: TableMetadata) -> None:
    """Writes `about.json` into the table's folder."""
    values = asdict(metadata)
    if not math.isfinite(metadata.grey):
        values["grey"] = None  # JSON has no NaN
    with tf.io.gfile.GFile(posixpath.join(folder, METADATA_FILE), "w") as file:
        file.write(json.dumps(values, indent=2) + "\n")


def write(folder: str, table: Predictions) -> None:
    """Writes a table as the component PredictionTable does; creates the folder."""
    for shard, is_valid in ((SHARD, True), (INVALID_SHARD, False)):
        path = posixpath.join(folder, shard)
        tf.io.gfile.makedirs(posixpath.dirname(path))
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for index, probability in enumerate(table.probabilities):
                if is_probability(probability) is is_valid:
                    writer.write(encode(_row(table, index)))
    write_metadata(
        folder, TableMetadata(table.class_names, table.model_id, table.model_uri, table.baselines, table.grey)
    )


def read(folder: str) -> Predictions:
    """Reads a table; its rows are sorted by file name, then by digest."""
    with tf.io.gfile.GFile(posixpath.join(folder, METADATA_FILE)) as file:
        metadata = json.load(file)
    shards = (posixpath.join(folder, shard) for shard in (SHARD, INVALID_SHARD))
    files = [shard for shard in shards if tf.io.gfile.exists(shard)]
    records = tf.data.TFRecordDataset(files, compression_type="GZIP") if files else ()
    rows = sorted(
        (_decode(bytes(record.numpy())) for record in records),
        key=lambda row: (row[features.FILENAME], row[features.DIGEST]),
    )
    baselines = {name: BaselineState(**state) for name, state in metadata["baselines"].items()}
    baseline_probabilities = {
        name: _floats(rows, columns.BASELINE_COLUMNS[name])
        for name, baseline in baselines.items()
        if baseline.state == "compared"
    }
    if baselines["best"].state == "same" and "newest" in baseline_probabilities:
        baseline_probabilities["best"] = baseline_probabilities["newest"]
    return Predictions(
        class_names=tuple(metadata["class_names"]),
        filenames=[row[features.FILENAME] for row in rows],
        digests=[row[features.DIGEST] for row in rows],
        labels=np.array([row[features.LABEL] for row in rows], np.int64),
        probabilities=_floats(rows, columns.PROBABILITY),
        slices={name: [row[name] for row in rows] for name in columns.SLICES},
        seen=np.array([row[columns.SEEN_IN_TRAINING] for row in rows], bool),
        baselines=baselines,
        baseline_probabilities=baseline_probabilities,
        changed={name: _floats(rows, columns.perturbed_column(name)) for name in columns.PERTURBATIONS},
        sampled=np.array([columns.perturbed_column(columns.PERTURBATIONS[0]) in row for row in rows], bool),
        grey=math.nan if metadata["grey"] is None else metadata["grey"],
        model_id=metadata["model_id"],
        model_uri=metadata["model_uri"],
    )


def _row(table: Predictions, index: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        features.FILENAME: table.filenames[index],
        features.DIGEST: table.digests[index],
        features.LABEL: int(table.labels[index]),
        columns.PROBABILITY: float(table.probabilities[index]),
        columns.SEEN_IN_TRAINING: int(table.seen[index]),
    }
    row |= {name: values[index] for name, values in table.slices.items()}
    for name, baseline in table.baselines.items():
        if baseline.state == "compared":
            row[columns.BASELINE_COLUMNS[name]] = float(table.baseline_probabilities[name][index])
    if table.sampled[index]:
        row |= {
            columns.perturbed_column(name): float(values[index]) for name, values in table.changed.items()
        }
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
