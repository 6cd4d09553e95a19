from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`evaluation(floor, candidate, baseline)`: TFMA's own output on 200 examples, for two models or one.

    A model is sure to 0.9 of every answer, and is wrong in the given share of them.
    """
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_model_analysis as tfma
    from tfx import v1 as _  # noqa: F401  (tfma has its EvalConfig only after it)
    from tfx_bsl.public.tfxio import TFExampleRecord

    root = tmp_path_factory.mktemp("tfma")
    with tf.io.TFRecordWriter(str(root / "examples")) as writer:
        for index in range(200):
            feature = {
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[index % 2])),
                "place": tf.train.Feature(float_list=tf.train.FloatList(value=[index / 200])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())

    examples = TFExampleRecord(
        str(root / "examples"), raw_record_column_name=tfma.constants.ARROW_INPUT_COLUMN
    )

    class Model(tf.Module):
        def __init__(self, wrong: float) -> None:
            super().__init__()
            self.wrong = tf.Variable(wrong)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def answer(self, examples: Any) -> dict[str, Any]:
            parsed = tf.io.parse_example(
                examples,
                {
                    "label": tf.io.FixedLenFeature([], tf.int64),
                    "place": tf.io.FixedLenFeature([], tf.float32),
                },
            )
            right = 0.1 + 0.8 * tf.cast(parsed["label"], tf.float32)
            return {"probability": tf.where(parsed["place"] < self.wrong, 1 - right, right)}

    def make(floor: float, candidate: float, baseline: float | None = None, in_slices: bool = False) -> Path:
        models = {"candidate": candidate} | ({} if baseline is None else {"baseline": baseline})
        threshold = tfma.MetricThreshold(
            value_threshold=tfma.GenericValueThreshold(lower_bound={"value": floor}),
            change_threshold=tfma.GenericChangeThreshold(
                direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -0.01}
            ),
        )
        whole = {"slicing_specs": [tfma.SlicingSpec()], "threshold": threshold}
        gate = {"threshold": threshold} if in_slices else {"per_slice_thresholds": [whole]}
        config = tfma.EvalConfig(
            model_specs=[
                tfma.ModelSpec(
                    name=name if baseline is not None else "",
                    is_baseline=name == "baseline",
                    signature_name="serving_default",
                    label_key="label",
                    prediction_key="probability",
                )
                for name in models
            ],
            slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["label"])],
            metrics_specs=[
                tfma.MetricsSpec(
                    metrics=[
                        tfma.MetricConfig(class_name="BinaryAccuracy", **gate),
                        tfma.MetricConfig(class_name="AUC"),
                        tfma.MetricConfig(class_name="BinaryCrossentropy"),
                        tfma.MetricConfig(class_name="ExampleCount"),
                    ]
                )
            ],
        )
        config = tfma.utils.update_eval_config_with_defaults(
            config, has_baseline=baseline is not None, rubber_stamp=True
        )
        name = "-".join(map(str, (floor, *models.values(), in_slices)))
        shared = []
        for spec, (role, wrong) in zip(config.model_specs, models.items(), strict=True):
            folder = str(root / f"{name}-{role}")
            model = Model(wrong)
            tf.saved_model.save(model, folder, signatures=model.answer)
            shared.append(tfma.default_eval_shared_model(folder, model_name=spec.name, eval_config=config))
        output = root / name
        with beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline:
            _ = (
                pipeline
                | examples.BeamSource()
                | tfma.ExtractEvaluateAndWriteResults(
                    eval_shared_model=shared if len(shared) > 1 else shared[0],
                    eval_config=config,
                    output_path=str(output),
                )
            )
        return output

    return make


def test_metrics_are_tfma_s_over_all_examples(evaluation: Callable[..., Path]) -> None:
    from pipelines.local.outcome import read_evaluation

    metrics, _ = read_evaluation(evaluation(floor=0.9, candidate=0.05))
    assert metrics["accuracy"] == pytest.approx(0.95)
    assert metrics["loss"] == pytest.approx(-(0.95 * -0.105361 + 0.05 * -2.302585), abs=1e-4)
    assert 0.9 < metrics["auc"] < 1
    assert metrics["examples"] == 200


@pytest.mark.parametrize(
    ("floor", "candidate", "baseline", "reasons"),
    [
        (
            0.9,
            0.05,
            None,
            [
                "accuracy 0.9500 ≥ 0.9000, the floor",
                "compared with no other model: none has been blessed before",
            ],
        ),
        (
            0.9,
            0.05,
            0.10,
            [
                "accuracy 0.9500 ≥ 0.9000, the floor",
                "accuracy +0.0500 against the blessed model's 0.9000, within the -0.0100 allowed",
            ],
        ),
        (
            0.96,
            0.05,
            0.02,
            [
                "accuracy 0.9500 is below 0.9600, the floor",
                "accuracy -0.0300 against the blessed model's 0.9800, beyond the -0.0100 allowed",
            ],
        ),
    ],
)
def test_reasons_name_the_value_the_bound_and_the_verdict(
    evaluation: Callable[..., Path],
    floor: float,
    candidate: float,
    baseline: float | None,
    reasons: list[str],
) -> None:
    import tensorflow_model_analysis as tfma

    from pipelines.local.outcome import read_evaluation

    folder = evaluation(floor, candidate, baseline)
    assert read_evaluation(folder)[1] == reasons
    failed = any(word in reason for reason in reasons for word in ("below", "beyond"))
    assert tfma.load_validation_result(str(folder)).validation_ok is not failed


def test_a_bound_that_is_missed_in_slices_names_them(evaluation: Callable[..., Path]) -> None:
    from pipelines.local.outcome import read_evaluation

    _, reasons = read_evaluation(evaluation(floor=0.96, candidate=0.05, in_slices=True))
    assert reasons == [
        "accuracy 0.9500 is below 0.9600, the floor",
        "compared with no other model: none has been blessed before",
        "accuracy misses its bound on label 0, label 1",
    ]
