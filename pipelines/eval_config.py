"""TFMA's configuration for evaluating the prediction table."""

from __future__ import annotations

import json
from typing import Any

import tensorflow_model_analysis as tfma
import tfx.components  # noqa: F401  (only after it has tfma its EvalConfig)

from components.prediction_table import columns
from trainer import features

# The model predicts the second class from 0.5 on, but TFMA counts values above its threshold: this is the
# largest float32 below 0.5.
_THRESHOLD = 0.49999997
_BUCKETS = 10


def eval_config() -> tfma.EvalConfig:
    """Builds TFMA's configuration: the candidate's metrics on all of `test` and on each slice.

    It sets no thresholds: the QualityGate decides, with statistical tests.
    """
    whole = tfma.SlicingSpec()
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key=features.LABEL, prediction_key=columns.PROBABILITY)],
        slicing_specs=[whole, *(tfma.SlicingSpec(feature_keys=[name]) for name in columns.SLICES)],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    _metric("BinaryAccuracy", threshold=_THRESHOLD),
                    *(
                        _metric(name, thresholds=_THRESHOLD)
                        for name in ("Precision", "Recall", "F1Score", "NPV", "Specificity")
                    ),
                    _metric("ConfusionMatrixAtThresholds", thresholds=[_THRESHOLD]),
                    _metric("AUC"),
                    _metric("BinaryCrossentropy"),
                    _metric("CalibrationPlot", num_buckets=_BUCKETS),
                    _metric("ExampleCount"),
                ]
            )
        ],
    )


def _metric(class_name: str, **options: Any) -> tfma.MetricConfig:
    return tfma.MetricConfig(class_name=class_name, config=json.dumps(options)[1:-1])
