"""TFMA's own Evaluator on a prediction table, read back, against scikit-learn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from tfx.components.evaluator.executor import Executor
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import json_utils, proto_utils

from components import model_metrics, tfma_metrics
from components.errors import PipelineError
from components.prediction_table import table
from components.prediction_table.table import Predictions
from components.quality_gate import tfma_agreement
from components.tfma_metrics import Evaluation
from pipelines.eval_config import eval_config
from tests.components import prediction_tables
from trainer import features


def evaluate(folder: Path, predictions: Predictions) -> Evaluation:
    """Writes the table and runs the stock executor as the pipeline does."""
    table.write(str(folder / "predictions"), predictions)
    examples, evaluation = standard_artifacts.Examples(), standard_artifacts.ModelEvaluation()
    examples.uri, evaluation.uri = str(folder / "predictions"), str(folder / "evaluation")
    examples.split_names = artifact_utils.encode_split_names(["test"])
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    blessing = standard_artifacts.ModelBlessing()
    arguments = ["--runner=FnApiRunner", "--sdk_container_image=none"]
    context = Executor.Context(beam_pipeline_args=arguments, tmp_dir=str(folder / "tmp"), unique_id="1")
    Executor(context).Do(
        {"examples": [examples]},
        {"evaluation": [evaluation], "blessing": [blessing]},
        {
            "eval_config": proto_utils.proto_to_json(eval_config()),
            "example_splits": json_utils.dumps(["test"]),
        },
    )
    assert not blessing.has_custom_property("blessed")  # it does not judge
    return tfma_metrics.read(evaluation.uri)


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    """Includes edge cases: 0, 1 and exactly 0.5."""
    labels, predicted = prediction_tables.drawn(300)
    predicted[:6] = [0, 1, 0.5, 0.5, 1, 0.3]
    return prediction_tables.table(labels, predicted.astype(np.float32))


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory, predictions: Predictions) -> Evaluation:
    return evaluate(tmp_path_factory.mktemp("evaluation"), predictions)


def log_loss(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Returns what Keras 2 makes of it, which TFMA uses: bounded, and in 32 bits."""
    epsilon = np.float32(1e-7)
    bounded = np.clip(predicted.astype(np.float32), epsilon, 1 - epsilon)
    return float(-np.log(np.where(labels == 1, bounded, 1 - bounded) + epsilon).mean())


def test_figures_are_those_of_scikit_learn(evaluation: Evaluation, predictions: Predictions) -> None:
    labels, predicted = predictions.labels, predictions.probabilities
    said = predicted >= 0.5
    measured = evaluation.whole
    assert measured.examples == 300
    assert measured.accuracy == pytest.approx(metrics.accuracy_score(labels, said), abs=1e-9)
    assert measured.auc == pytest.approx(metrics.roc_auc_score(labels, predicted), abs=1e-3)
    assert measured.loss == pytest.approx(log_loss(labels, predicted), abs=1e-6)
    np.testing.assert_array_equal(measured.confusion, metrics.confusion_matrix(labels, said))
    expected = metrics.precision_recall_fscore_support(labels, said)[:3]
    np.testing.assert_allclose([measured.precision, measured.recall, measured.f1], expected, atol=1e-9)


def test_what_tfma_says_of_very_sure_models_is_no_contradiction(tmp_path: Path) -> None:
    """TFMA's AUC does not distinguish predictions between two of its thresholds."""
    labels = np.arange(40) % 2
    logits = np.random.default_rng(3).normal(np.where(labels == 1, 13, -13), 3)
    logits[1] = -9.5  # sure, and wrong: less so than half of those that are right
    predicted = (1 / (1 + np.exp(-logits))).astype(np.float32)
    predictions = prediction_tables.table(labels, predicted)
    measured = evaluate(tmp_path, predictions).whole
    assert abs(measured.auc - metrics.roc_auc_score(labels, predicted)) > 5e-3
    tfma_agreement.require_agreement(predictions, measured)
    with pytest.raises(PipelineError, match="auc"):
        tfma_agreement.require_agreement(predictions, replace(measured, auc=measured.auc - 0.05))


def test_the_calibration_is_that_of_ten_buckets(evaluation: Evaluation, predictions: Predictions) -> None:
    labels, predicted = predictions.labels, predictions.probabilities
    numbers = np.minimum((predicted * 10).astype(int), 9)
    gaps = [abs((predicted - labels)[numbers == number].sum()) for number in range(10)]
    assert evaluation.whole.calibration_error == pytest.approx(sum(gaps) / 300, abs=1e-6)


def test_every_slice_is_measured(evaluation: Evaluation, predictions: Predictions) -> None:
    right = (predictions.probabilities >= 0.5) == (predictions.labels == 1)
    assert set(evaluation.slices) == set(predictions.slices)
    for feature, values in predictions.slices.items():
        assert set(evaluation.slices[feature]) == set(values)
        for value, measured in evaluation.slices[feature].items():
            inside = np.array(values) == value
            assert measured.examples == inside.sum()
            assert measured.accuracy == pytest.approx(right[inside].mean(), abs=1e-9)


def test_of_one_class_there_are_no_figures_that_need_two(evaluation: Evaluation) -> None:
    cats = evaluation.slices[features.CLASS_NAME]["cat"]
    assert math.isnan(cats.auc)
    assert math.isnan(cats.recall[1])
    assert cats.recall[0] == cats.accuracy
    assert cats.precision == (1, 0)
    assert cats.f1[1] == 0


def test_figures_have_the_names_that_our_own_have(evaluation: Evaluation, predictions: Predictions) -> None:
    ours = model_metrics.compute_metrics(
        predictions.labels, predictions.probabilities, predictions.class_names
    )
    theirs = evaluation.whole.figures(predictions.class_names)
    assert theirs.keys() == ours.keys()
    apart = {"auc": 1e-3, "loss": 0.01}  # TFMA clips the loss of confident errors differently
    for name, value in theirs.items():
        assert value == pytest.approx(ours[name].value, abs=apart.get(name, 1e-6)), name
    assert evaluation.whole.short().keys() == {"accuracy", "auc", "loss", "examples"}


def test_answers_that_are_no_probability_are_left_out_and_kept(tmp_path: Path) -> None:
    labels, predicted = prediction_tables.drawn(30)
    predicted[[3, 4, 5]] = [math.nan, math.inf, 1.5]
    assert evaluate(tmp_path, prediction_tables.table(labels, predicted)).whole.examples == 27
    kept = table.read(str(tmp_path / "predictions")).probabilities
    np.testing.assert_array_equal(kept[3:6], predicted[3:6])


def test_of_no_images_nothing_is_measured(tmp_path: Path) -> None:
    evaluation = evaluate(tmp_path, prediction_tables.table([], []))
    assert evaluation.slices == {}
    assert all(math.isnan(value) for value in evaluation.whole.figures(("cat", "dog")).values())
    assert evaluation.whole.short() == {"examples": 0}
