"""What the Evaluator measures on `test`, and what a model must reach to be blessed."""

from __future__ import annotations

import tensorflow_model_analysis as tfma
from tfx import v1 as tfx  # noqa: F401  (only after it has tfma its EvalConfig)

from pipelines.settings import Settings
from trainer import features
from trainer.signatures import EXAMPLES_SIGNATURE, probability_name

GATED_METRIC = "BinaryAccuracy"
_ROUNDING = 1e-6  # 0.97 - 0.98 is a little below -0.01, and a loss of just the limit is within it


def eval_config(settings: Settings) -> tfma.EvalConfig:
    """Builds TFMA's configuration.

    Accuracy must reach `evaluation.min_accuracy`, and must not lie more than `evaluation.max_accuracy_loss`
    below the baseline's; without a baseline TFMA leaves the comparison out. Metrics are computed over all of
    `test` and over slices; only the whole is judged.
    """
    limits = settings.evaluation
    accuracy = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": limits.min_accuracy}),
        change_threshold=tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER,
            absolute={"value": -limits.max_accuracy_loss - _ROUNDING},
        ),
    )
    whole = tfma.SlicingSpec()
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name=EXAMPLES_SIGNATURE,
                label_key=features.LABEL,
                prediction_key=probability_name(settings.data.class_names),
            )
        ],
        slicing_specs=[
            whole,
            *(tfma.SlicingSpec(feature_keys=[name]) for name in (features.CLASS_NAME, *features.RANGES)),
        ],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(
                        class_name=GATED_METRIC,
                        per_slice_thresholds=[  # a plain `threshold` would judge every slice
                            {"slicing_specs": [whole], "threshold": accuracy}
                        ],
                    ),
                    tfma.MetricConfig(class_name="AUC"),
                    tfma.MetricConfig(class_name="BinaryCrossentropy"),
                    tfma.MetricConfig(class_name="Precision"),
                    tfma.MetricConfig(class_name="Recall"),
                    tfma.MetricConfig(class_name="ExampleCount"),
                ]
            )
        ],
    )
