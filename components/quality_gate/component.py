"""The QualityGate component, which decides whether the Pusher may push the model."""

from __future__ import annotations

from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components import fingerprint
from components.quality_gate.executor import Executor
from components.quality_gate.limits import GateLimits

_CODE = (
    *("components.quality_gate", "components.model_metrics", "components.tfma_metrics"),
    *("components.prediction_table.table", "components.prediction_table.columns", "trainer.features"),
)


class QualityGateSpec(component_spec.ComponentSpec):
    """Parameters and channels of `QualityGate`."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "limits": component_spec.ExecutionParameter(type=str),
        "override": component_spec.ExecutionParameter(type=str),
        "code_fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "predictions": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "serving_check": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing)
    }


class QualityGate(base_component.BaseComponent):
    """Judges a model on the prediction table and blesses or refuses it.

    A refused model is a result, not an error. docs/gate.md lists the rules.

    Outputs `blessing`: a ModelBlessing with the file (`BLESSED` or `NOT_BLESSED`) and the custom properties
    of TFX's Evaluator, the custom property `best` (`yes` if the model becomes the best model), and the file
    `verdict.json`.

    Args:
        model: Channel of the Model to judge.
        predictions: Channel of the prediction table.
        evaluation: Channel of TFMA's ModelEvaluation of that table, whose metrics must agree with it.
        serving_check: Channel of the InfraBlessing with the serving check's report.
        limits: The settings of the section `evaluation`.
        override: A person's decision to bless the model despite failed rules: JSON with `reason`, `by`, `at`
            and optionally the model's URI as `model`. Defaults to no override.
    """

    SPEC_CLASS = QualityGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        predictions: types.BaseChannel,
        evaluation: types.BaseChannel,
        serving_check: types.BaseChannel,
        limits: GateLimits,
        override: str = "",
    ) -> None:
        super().__init__(
            QualityGateSpec(
                model=model,
                predictions=predictions,
                evaluation=evaluation,
                serving_check=serving_check,
                limits=limits.model_dump_json(),
                override=override,
                code_fingerprint=fingerprint.of_code(*_CODE),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
