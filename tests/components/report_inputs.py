"""What a run leaves for its report, made without a run: every input of EvaluationReport in a folder."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tfx.types import Artifact, artifact_utils, standard_artifacts

from components.artifacts import DataVerdict, EvaluationReportFiles, RejectedImages
from components.evaluation_report.executor import Executor
from components.image_example_gen.examples import serialize
from components.image_example_gen.inspection import inspect
from components.image_example_gen.sources.base import SourceImage
from components.prediction_table import table as prediction_table
from components.prediction_table.table import Predictions
from components.quality_gate import verdict
from components.quality_gate.judge import judge
from components.quality_gate.limits import GateLimits
from tests.components import prediction_tables
from tests.components.counted_examples import columns, statistics
from trainer import signatures

HISTORY = {
    "phases": [
        {
            "name": name,
            "epochs": [
                {"epoch": epoch, "loss": 0.3 / epoch, "accuracy": 0.9, "auc": 0.95}
                | {"val_loss": 0.4 / epoch, "val_accuracy": 0.91, "val_auc": math.nan}
                for epoch in (1, 2, 3)
            ],
        }
        for name in ("frozen", "fine-tuning")
    ],
    "kept": {"phase": "fine-tuning", "epoch": 2},
}
DISTANCES = {
    "brightness": {"value": 0.03, "allowed": 0.8},
    "class name": {"value": 0.011, "allowed": 0.1},
}
SERVING = {
    "blessed": True,
    "problems": [],
    "server": "TensorFlow Serving",
    "protocols": {"REST": {"p50_ms": 12.5, "p95_ms": 20.1}},
}
SETTINGS = "data:\n  source: folder\nevaluation:\n  min_slice_images: 30\n  min_slice_accuracy: 0.8\n"


def predictions(encoded: Sequence[bytes], **changes: Any) -> Predictions:
    """Returns a table of these images, with the predictions of a model and of a weaker baseline."""
    labels, predicted = prediction_tables.drawn(len(encoded), 0.9)
    _, before = prediction_tables.drawn(len(encoded), 0.8)
    made = prediction_tables.table(
        labels,
        predicted.astype(np.float32),
        {"newest": before.astype(np.float32)},
        digests=[hashlib.sha256(one).hexdigest() for one in encoded],
    )
    return replace(made, **changes)


def folders(folder: Path) -> dict[str, Artifact]:
    """Returns the inputs, each of them an empty folder."""
    kinds = {
        "model": standard_artifacts.Model,
        "model_run": standard_artifacts.ModelRun,
        "predictions": standard_artifacts.Examples,
        "evaluation": standard_artifacts.ModelEvaluation,
        "blessing": standard_artifacts.ModelBlessing,
        "serving_check": standard_artifacts.InfraBlessing,
        "examples": standard_artifacts.Examples,
        "rejected": RejectedImages,
        "statistics": standard_artifacts.ExampleStatistics,
        "data_verdict": DataVerdict,
    }
    inputs = {}
    for number, (name, kind) in enumerate(kinds.items(), start=1):
        inputs[name] = kind()
        inputs[name].uri, inputs[name].id = str(folder / name), number
        (folder / name).mkdir(parents=True)
    for name in ("examples", "statistics"):
        inputs[name].split_names = artifact_utils.encode_split_names(["train", "test"])
    return inputs


def write(folder: Path, encoded: Sequence[bytes], table: Predictions) -> dict[str, Artifact]:
    """Writes the inputs; the folder `evaluation` stays empty."""
    inputs = folders(folder)
    _model(folder / "model" / "Format-Serving")
    (folder / "model_run" / "history.json").write_text(json.dumps(HISTORY))
    prediction_table.write(str(folder / "predictions"), table)
    verdict.write(str(folder / "blessing"), judge(table, GateLimits()))
    _examples(folder / "examples" / "Split-test", encoded, table)
    write_data(folder)
    (folder / "serving_check" / "report.json").write_text(json.dumps(SERVING))
    for split, count in (("train", 200), ("test", 50)):
        (folder / "statistics" / f"Split-{split}").mkdir()
        (folder / "statistics" / f"Split-{split}" / "FeatureStats.pb").write_bytes(
            statistics(columns(count)).SerializeToString()
        )
    return inputs


def write_data(folder: Path) -> None:
    """Writes what was set aside, and the verdict on the data."""
    counts = {"accepted": {}, "rejected": {"cannot be decoded": 2}, "in_test_and_elsewhere": 0}
    (folder / "rejected" / "counts.json").write_text(json.dumps(counts))
    (folder / "rejected" / "rejected.csv").write_text(
        "file,reason,detail\n<img src=x onerror=alert(1)>.jpg,cannot be decoded,\na.jpg,cannot be decoded,\n"
    )
    compared = {"split": "train", "pictures": 190, "classes": {}, "distances": DISTANCES}
    (folder / "data_verdict" / "verdict.json").write_text(
        json.dumps({"accepted": True, "summary": "250 images accepted", "compared_with": compared})
    )


def report(folder: Path, inputs: dict[str, Artifact], class_names: Sequence[str] = ("cat", "dog")) -> Path:
    """Runs the executor; returns the folder of the report."""
    output = EvaluationReportFiles()
    output.uri = str(folder / "report")
    (folder / "report").mkdir()
    Executor().Do(
        {name: [artifact] for name, artifact in inputs.items()},
        {"report": [output]},
        {"settings": SETTINGS, "pipeline_name": "catsdogs", "class_names": json.dumps(list(class_names))},
    )
    return folder / "report"


def _model(folder: Path) -> None:
    """Exports a small network as the Trainer does."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, strides=4)(pixels))
    network = keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(pooled))
    signatures.export(network, 16, ("cat", "dog"), 50_000_000, str(folder))


def _examples(folder: Path, encoded: Sequence[bytes], table: Predictions) -> None:
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data-00000-of-00001.gz"), "GZIP") as writer:
        for name, label, data in zip(table.filenames, table.labels, encoded, strict=True):
            image = SourceImage(name, "folder", int(label), ("test",), lambda: b"")
            writer.write(serialize(image, data, inspect(data, 100_000_000), ("cat", "dog")))
