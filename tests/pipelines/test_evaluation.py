"""The gate, with TFX's own Evaluator and real exported models whose mistakes are known beforehand.

The pictures are grey all over: ten dark cats and ten bright dogs. A model says "dog" from some grey on; where
that lies too high, the darker dogs are mistaken.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx import types
from tfx.components.evaluator.executor import Executor
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils, standard_artifacts

from components.image_example_gen.examples import serialize
from components.image_example_gen.inspection import inspect
from components.image_example_gen.sources.base import Picture
from pipelines.pipeline import build
from pipelines.settings import load
from trainer import signatures

pytestmark = pytest.mark.slow

SIZE = 32
CLASSES = ("cat", "dog")
CATS, DOGS = range(20, 120, 10), range(140, 240, 10)

# From which grey on a model says "dog", and its accuracy.
PERFECT, ONE_WRONG, TWO_WRONG, FIVE_WRONG = 125, 145, 155, 185
ACCURACY = {PERFECT: 1.0, ONE_WRONG: 0.95, TWO_WRONG: 0.9, FIVE_WRONG: 0.75}


@dataclass(frozen=True)
class Verdict:
    """What the Evaluator decided, and the accuracies it measured: () is the whole of `test`."""

    blessing: types.Artifact
    accuracy: dict[tuple[tuple[str, str], ...], float]

    @property
    def is_blessed(self) -> bool:
        return bool(self.blessing.get_int_custom_property("blessed"))


def record(grey: int, label: int) -> bytes:
    """What ingest writes for a picture of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (grey, grey, grey)).save(buffer, "PNG")
    data = buffer.getvalue()
    picture = Picture(f"{grey}.png", CLASSES[label], label, ("test",), partial(bytes, data))
    return serialize(picture, data, inspect(data, SIZE * SIZE), CLASSES)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> types.Artifact:
    """The pictures as `test`; in `train` and `eval` all labels are wrong, which nobody is to look at."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval", "test"])
    for split in ("train", "eval", "test"):
        folder = Path(artifact.uri, f"Split-{split}")
        folder.mkdir()
        with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001")) as writer:
            for label, greys in enumerate((CATS, DOGS)):
                for grey in greys:
                    writer.write(record(grey, label if split == "test" else 1 - label))
    return artifact


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], types.Artifact]:
    """`model(grey)`: a SavedModel, exported as the Trainer does, that says "dog" from this grey on."""
    exported: dict[int, types.Artifact] = {}

    def export(grey: int) -> types.Artifact:
        if grey not in exported:
            pixels = keras.Input((SIZE, SIZE, 3))
            mean = keras.layers.GlobalAveragePooling2D()(pixels)
            head = keras.layers.Dense(1, activation="sigmoid")
            network = keras.Model(pixels, head(mean))
            head.set_weights([np.full((3, 1), 0.1 / 3), np.array([-0.1 * grey])])
            artifact = standard_artifacts.Model()
            artifact.id = grey
            artifact.uri = str(tmp_path_factory.mktemp("model"))
            signatures.export(network, SIZE, CLASSES, f"{artifact.uri}/Format-Serving")
            exported[grey] = artifact
        return exported[grey]

    return export


@pytest.fixture
def judge(
    examples: types.Artifact, model: Callable[[int], types.Artifact], tmp_path: Path
) -> Callable[..., Verdict]:
    """`judge(candidate, baseline, min_accuracy=…, max_accuracy_loss=…)`: runs the pipeline's Evaluator."""
    import tensorflow_model_analysis as tfma

    def run(candidate: int, baseline: int | None = None, **limits: float) -> Verdict:
        settings = load(
            overrides=[
                f"output_root={tmp_path}",
                *(f"evaluation.{name}={limit}" for name, limit in limits.items()),
            ]
        )
        pipeline = build(settings)
        [evaluator] = [component for component in pipeline.components if component.id == "Evaluator"]
        evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        evaluation.uri, blessing.uri = str(tmp_path / "evaluation"), str(tmp_path / "blessing")
        context = base_beam_executor.BaseBeamExecutor.Context(
            beam_pipeline_args=pipeline.beam_pipeline_args, tmp_dir=str(tmp_path / "tmp"), unique_id="1"
        )
        given: dict[str, list[types.Artifact]] = {
            "examples": [examples],
            "model": [model(candidate)],
            "baseline_model": [] if baseline is None else [model(baseline)],
        }
        Executor(context).Do(
            given, {"evaluation": [evaluation], "blessing": [blessing]}, evaluator.exec_properties
        )
        result = tfma.load_eval_result(evaluation.uri, model_name=None if baseline is None else "candidate")
        return Verdict(blessing, {key: _accuracy(outputs) for key, outputs in result.slicing_metrics})

    return run


def _accuracy(outputs: dict[str, Any]) -> float:
    [by_sub_key] = outputs.values()
    [metrics] = by_sub_key.values()
    accuracy: float = metrics["binary_accuracy"]["doubleValue"]
    return accuracy


@pytest.mark.parametrize(
    ("candidate", "floor", "blessed"),
    [(PERFECT, 0.9, True), (ONE_WRONG, 0.95, True), (FIVE_WRONG, 0.9, False)],
)
def test_a_first_model_must_reach_the_floor(
    judge: Callable[..., Verdict], candidate: int, floor: float, blessed: bool
) -> None:
    verdict = judge(candidate, min_accuracy=floor, max_accuracy_loss=0)
    assert verdict.accuracy[()] == pytest.approx(ACCURACY[candidate])
    assert verdict.is_blessed is blessed


@pytest.mark.parametrize(
    ("candidate", "loss", "blessed"),
    [
        (TWO_WRONG, 0.11, True),
        (TWO_WRONG, 0.09, False),
        (ONE_WRONG, 0.05, True),  # as much as is allowed
    ],
)
def test_a_model_may_fall_behind_the_blessed_one_by_so_much(
    judge: Callable[..., Verdict], candidate: int, loss: float, blessed: bool
) -> None:
    verdict = judge(candidate, PERFECT, min_accuracy=0.5, max_accuracy_loss=loss)
    assert verdict.accuracy[()] == pytest.approx(ACCURACY[candidate])
    assert verdict.is_blessed is blessed


def test_a_model_better_than_a_bad_one_must_still_reach_the_floor(judge: Callable[..., Verdict]) -> None:
    assert not judge(TWO_WRONG, FIVE_WRONG, min_accuracy=0.92, max_accuracy_loss=0.01).is_blessed


def test_parts_are_measured_and_not_judged(
    judge: Callable[..., Verdict], model: Callable[[int], types.Artifact]
) -> None:
    verdict = judge(ONE_WRONG, PERFECT, min_accuracy=0.94, max_accuracy_loss=0.06)
    dogs, medium = (("image/class/text", "dog"),), (("image/brightness_range", "medium"),)
    assert verdict.accuracy[dogs] == pytest.approx(9 / 10)
    assert verdict.accuracy[medium] == pytest.approx(6 / 7)
    assert verdict.is_blessed
    assert verdict.blessing.get_int_custom_property("current_model_id") == model(ONE_WRONG).id
    assert verdict.blessing.get_int_custom_property("baseline_model_id") == model(PERFECT).id
