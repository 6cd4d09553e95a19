"""From exported models, whose mistakes are known, to the verdict: the table, TFX's own Evaluator, the gate.

The images are grey all over: ten dark cats and ten bright dogs. A model says "dog" from some grey on; where
that lies too high, the darker dogs are mistaken.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx import types
from tfx.components.evaluator.executor import Executor as Evaluator
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils, standard_artifacts

from components import tfma_metrics
from components.image_example_gen.examples import serialize
from components.image_example_gen.inspection import inspect
from components.image_example_gen.sources.base import SourceImage
from components.prediction_table.executor import Executor as PredictionTable
from components.quality_gate import verdict
from components.quality_gate.executor import Executor as QualityGate
from components.quality_gate.verdict import Verdict
from components.serving_check.report import REPORT
from pipelines import node_configs
from pipelines.pipeline import build
from pipelines.settings.loading import load
from trainer import signatures

pytestmark = pytest.mark.slow

Context = base_beam_executor.BaseBeamExecutor.Context
# The predictions and the evaluation of a candidate and its baseline.
Measured = tuple[types.Artifact, types.Artifact]

SIZE = 32
CLASSES = ("cat", "dog")
CATS, DOGS = range(20, 120, 10), range(140, 240, 10)

# From which grey on a model says "dog", and its accuracy.
PERFECT, ONE_WRONG, TWO_WRONG, FIVE_WRONG = 125, 145, 155, 185
ACCURACY = {PERFECT: 1.0, ONE_WRONG: 0.95, TWO_WRONG: 0.9, FIVE_WRONG: 0.75}

# All that is judged here; what a server found, as the serving check writes it.
ONLY_ACCURACY = {"max_calibration_error": "null", "min_prediction_consistency": 0.01}
SERVED = {
    "blessed": True,
    "problems": [],
    "server": "a server",
    "protocols": {},
    "limits": {"max_latency_ms": 2000},
}


def record(grey: int, label: int, size: int = SIZE) -> bytes:
    """What ingest writes for an image of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (grey, grey, grey)).save(buffer, "PNG")
    data = buffer.getvalue()
    image = SourceImage(f"{grey}.png", CLASSES[label], label, ("test",), partial(bytes, data))
    return serialize(image, data, inspect(data, size * size), CLASSES)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> types.Artifact:
    """Stores the images as `test`; labels in `train` and `eval` are wrong, so that using them would show."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval", "test"])
    for split in ("train", "eval", "test"):
        folder = Path(artifact.uri, f"Split-{split}")
        folder.mkdir()
        with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001")) as writer:
            for label, greys in enumerate((CATS, DOGS)):
                for grey in greys:
                    of_test = split == "test"
                    writer.write(record(grey, label) if of_test else record(grey, 1 - label, 2 * SIZE))
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
            signatures.export(network, SIZE, CLASSES, 50_000_000, f"{artifact.uri}/Format-Serving")
            exported[grey] = artifact
        return exported[grey]

    return export


def artifact(made: types.Artifact, folder: Path) -> types.Artifact:
    made.uri = str(folder)
    folder.mkdir()
    return made


def steps(
    output: Path, *overrides: str
) -> tuple[base_beam_executor.BaseBeamExecutor.Context, dict[str, Any]]:
    """What the executors are made with, and what the pipeline hands each of them."""
    settings = load(overrides=[f"output_root={output}", *overrides])
    pipeline = build(settings)
    context = Context(
        beam_pipeline_args=node_configs.beam(settings, "Evaluator"),
        tmp_dir=str(output / "tmp"),
        unique_id="1",
    )
    return context, {component.id: component.exec_properties for component in pipeline.components}


@pytest.fixture(scope="module")
def measure(
    examples: types.Artifact,
    model: Callable[[int], types.Artifact],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[int, int | None], Measured]:
    """`measure(candidate, newest)`: the steps before the gate, once a pair, as no limit reaches them."""

    @cache
    def run(candidate: int, newest: int | None) -> Measured:
        folder = tmp_path_factory.mktemp("measured")
        context, properties = steps(folder)
        predictions = artifact(standard_artifacts.Examples(), folder / "predictions")
        evaluation = artifact(standard_artifacts.ModelEvaluation(), folder / "evaluation")
        baseline = [] if newest is None else [model(newest)]
        PredictionTable(context).Do(
            {"examples": [examples], "model": [model(candidate)], "newest": baseline, "best": baseline},
            {"predictions": [predictions]},
            properties["PredictionTable"],
        )
        Evaluator(context).Do(
            {"examples": [predictions]},
            {
                "evaluation": [evaluation],
                "blessing": [artifact(standard_artifacts.ModelBlessing(), folder / "no")],
            },
            properties["Evaluator"],
        )
        measured = tfma_metrics.read(evaluation.uri)
        assert measured.whole.accuracy == pytest.approx(ACCURACY[candidate])
        return predictions, evaluation

    return run


@pytest.fixture
def judge(
    measure: Callable[[int, int | None], Measured], model: Callable[[int], types.Artifact], tmp_path: Path
) -> Callable[..., Verdict]:
    """`judge(candidate, newest, min_accuracy=…, …)`: runs the pipeline's steps from the table to the gate."""

    def run(candidate: int, newest: int | None = None, **limits: float) -> Verdict:
        overrides = [f"evaluation.{name}={limit}" for name, limit in {**ONLY_ACCURACY, **limits}.items()]
        context, properties = steps(tmp_path, *overrides)
        predictions, evaluation = measure(candidate, newest)
        blessing = artifact(standard_artifacts.ModelBlessing(), tmp_path / "blessing")
        served = artifact(standard_artifacts.InfraBlessing(), tmp_path / "served")
        Path(served.uri, REPORT).write_text(json.dumps(SERVED))
        QualityGate(context).Do(
            {
                "model": [model(candidate)],
                "predictions": [predictions],
                "evaluation": [evaluation],
                "serving_check": [served],
            },
            {"blessing": [blessing]},
            properties["QualityGate"],
        )
        found = verdict.read(blessing.uri)
        assert found is not None
        assert bool(blessing.get_int_custom_property("blessed")) is found.blessed
        assert blessing.get_int_custom_property("current_model_id") == model(candidate).id
        assert blessing.get_int_custom_property("baseline_model_id") == (newest or 0)
        return found

    return run


@pytest.mark.parametrize(
    ("candidate", "floor", "blessed"),
    [(ONE_WRONG, 0.95, True), (ONE_WRONG, 0.96, False)],
)
def test_a_first_model_must_reach_the_floor(
    judge: Callable[..., Verdict], candidate: int, floor: float, blessed: bool
) -> None:
    found = judge(candidate, min_accuracy=floor)
    assert (found.blessed, found.best) == (blessed, blessed)


@pytest.mark.parametrize(
    ("candidate", "loss", "blessed"),
    [
        (TWO_WRONG, 0.0, True),  # two of twenty: chance explains that
        (FIVE_WRONG, 0.0, False),
        (FIVE_WRONG, 0.1, True),
    ],
)
def test_a_model_may_not_fall_behind_the_blessed_one_beyond_chance(
    judge: Callable[..., Verdict], candidate: int, loss: float, blessed: bool
) -> None:
    found = judge(candidate, PERFECT, min_accuracy=0.5, max_accuracy_loss=loss)
    assert found.blessed is blessed, found.sentence
    assert not found.best
    compared = found.comparisons["newest"]
    assert compared.only_baseline_right == round(20 * (1 - ACCURACY[candidate]))
    assert compared.only_candidate_right == 0


def test_a_model_better_than_a_bad_one_must_still_reach_the_floor(judge: Callable[..., Verdict]) -> None:
    assert not judge(TWO_WRONG, FIVE_WRONG, min_accuracy=0.92).blessed
