"""What TFMA's Evaluator measures, on the prediction table and without a model."""

from __future__ import annotations

import json
from typing import Any

import tensorflow_model_analysis as tfma
import tfx.components  # noqa: F401  (only after it has tfma its EvalConfig)

from components.prediction_table import columns
from trainer import features

# The model answers the second class from 0.5 on, and TFMA counts what is above: the 32-bit float before it.
_THRESHOLD = 0.49999997
_BUCKETS = 10


def eval_config() -> tfma.EvalConfig:
    """Builds TFMA's configuration: what is measured of the candidate, over all of `test` and over slices.

    There are no thresholds: the QualityGate judges, as chance matters there.
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
