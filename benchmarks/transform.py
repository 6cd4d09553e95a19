"""Compares the time of Transform on a folder of images with a bare tf.data pass and with TFX's own Transform.

    python -m benchmarks.transform DIR [--size 224] [--rounds 3]

The bare pass reads, decodes and resizes the same files with the same function, and writes nothing. All three
alternate in one process, and the fastest round counts; only the ratios are comparable between machines.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.transform.executor import Executor as TfxExecutor
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components.artifacts import RejectedImages
from components.image_example_gen.executor import Executor as IngestExecutor
from components.image_transform.executor import Executor as ImageTransformExecutor
from pipelines import node_configs
from pipelines.settings.loading import load
from pipelines.settings.tree import Settings
from trainer import features
from trainer.preprocessing import decode_and_resize

SPLITS = ["train", "eval", "test"]


def main() -> None:
    """Prints the times and their ratios."""
    options = _parse_options()
    settings = load(overrides=["data.source=folder", f"data.folder={options.images}"])
    with tempfile.TemporaryDirectory() as root:
        work = Path(root)
        _ingest(settings, work)
        files = [str(path) for path in sorted(options.images.rglob("*.jpg"))]
        candidates: dict[str, Callable[[], None]] = {
            "bare tf.data pass": lambda: _run_bare_pass(files, options.size),
            "Transform": lambda: _transform(ImageTransformExecutor, settings, work, options.size),
            "TFX's Transform": lambda: _transform(TfxExecutor, settings, work, options.size),
        }
        best = dict.fromkeys(candidates, float("inf"))
        for _ in range(options.rounds):
            for name, candidate in candidates.items():
                started = time.perf_counter()
                candidate()
                best[name] = min(best[name], time.perf_counter() - started)
    baseline = best["bare tf.data pass"]
    print(f"{len(files):,} images at {options.size} px, best of {options.rounds}")
    for name, seconds in best.items():
        print(f"{name:20} {seconds:7.1f} s   {seconds / baseline:5.1f} x the bare pass")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of JPEG files, one folder per class")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels (default 224)")
    parser.add_argument("--rounds", type=int, default=3, help="number of measurements of each (default 3)")
    return parser.parse_args()


def _run_bare_pass(files: list[str], size: int) -> None:
    images = tf.data.Dataset.from_tensor_slices(files).map(tf.io.read_file).batch(32)
    for _ in images.map(lambda batch: decode_and_resize(batch, size), num_parallel_calls=os.cpu_count()):
        pass


def _ingest(settings: Settings, work: Path) -> None:
    examples, rejected = standard_artifacts.Examples(), RejectedImages()
    examples.uri, rejected.uri = str(work / "examples"), str(work / "rejected")
    for folder in (work / "examples", work / "rejected", work / "schema"):
        folder.mkdir()
    IngestExecutor(_context(settings, work)).Do(
        {},
        {"examples": [examples], "rejected": [rejected]},
        {
            "source": json.dumps(settings.data.source_spec),
            "class_names": json.dumps(settings.data.class_names),
            "split": json.dumps(settings.data.split.model_dump()),
            "max_rejected_fraction": settings.data.max_rejected_fraction,
            "max_pixels": settings.data.max_pixels,
        },
    )
    (work / "schema" / "schema.pbtxt").write_text(text_format.MessageToString(_schema()))


def _schema() -> schema_pb2.Schema:
    """Returns a schema of the transformed features only; TFX's Transform cannot read the curated schema."""
    presence = schema_pb2.FeaturePresence(min_fraction=1)
    return schema_pb2.Schema(
        feature=[
            schema_pb2.Feature(name=name, type=kind, presence=presence, shape=schema_pb2.FixedShape())
            for name, kind in ((features.ENCODED, schema_pb2.BYTES), (features.LABEL, schema_pb2.INT))
        ]
    )


def _transform(executor: type[TfxExecutor], settings: Settings, work: Path, size: int) -> None:
    """Transforms all splits, so that it decodes as many images as the baseline without TFX."""
    examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
    examples.uri, examples.split_names = str(work / "examples"), json.dumps(SPLITS)
    schema.uri = str(work / "schema")
    with tempfile.TemporaryDirectory(dir=work) as output:
        graph, transformed = standard_artifacts.TransformGraph(), standard_artifacts.Examples()
        graph.uri, transformed.uri = f"{output}/graph", f"{output}/examples"
        executor(_context(settings, work)).Do(
            {"examples": [examples], "schema": [schema]},
            {"transform_graph": [graph], "transformed_examples": [transformed]},
            {
                "preprocessing_fn": "trainer.preprocessing.preprocessing_fn",
                "custom_config": json.dumps({"image_size": size}),
                "splits_config": json.dumps({"analyze": ["train"], "transform": SPLITS}),
                "disable_statistics": 1,
            },
        )


def _context(settings: Settings, work: Path) -> BaseBeamExecutor.Context:
    return BaseBeamExecutor.Context(
        beam_pipeline_args=node_configs.beam(settings, "Transform"), tmp_dir=str(work / "tmp"), unique_id="1"
    )


if __name__ == "__main__":
    main()
