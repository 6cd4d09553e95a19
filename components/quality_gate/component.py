"""The QualityGate component: the one verdict that the Pusher obeys."""

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
    """Judges a model on the prediction table, and blesses it or says why not.

    A bad model is a result, not an error. docs/gate.md tells what is judged and how.

    Outputs `blessing`: a ModelBlessing with the file (`BLESSED` or `NOT_BLESSED`) and the custom properties
    of TFX's Evaluator, and `best`, which is `yes` where the model is the best one from now on; in its folder
    also `verdict.json`.

    Args:
        model: Channel of the Model to judge.
        predictions: Channel of the prediction table.
        evaluation: Channel of TFMA's ModelEvaluation of that table, which must show the same figures.
        serving_check: Channel of the InfraBlessing with the serving check's report.
        limits: The settings of the section `evaluation`.
        override: A person's decision to bless the model all the same: JSON with `reason`, `by`, `at` and, if
            it is meant for a certain model, its URI as `model`. Nothing by default.
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
