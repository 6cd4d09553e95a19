"""The EvaluationReport component: renders the results of a run as an HTML page and a model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components import fingerprint
from components.artifacts import DataVerdict, EvaluationReportFiles, RejectedImages
from components.evaluation_report.executor import Executor

_CODE = (
    *("components.evaluation_report", "components.model_metrics", "components.tfma_metrics"),
    *("components.prediction_table", "components.quality_gate.verdict", "components.statistics"),
    *("trainer.features", "trainer.signatures"),
)
_TEMPLATES = Path(__file__).with_name("templates")


class EvaluationReportSpec(component_spec.ComponentSpec):
    """Parameters and channels of `EvaluationReport`."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "settings": component_spec.ExecutionParameter(type=str),
        "pipeline_name": component_spec.ExecutionParameter(type=str),
        "class_names": component_spec.ExecutionParameter(type=str),
        "code_fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "predictions": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "serving_check": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "rejected": component_spec.ChannelParameter(type=RejectedImages),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "data_verdict": component_spec.ChannelParameter(type=DataVerdict),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "report": component_spec.ChannelParameter(type=EvaluationReportFiles)
    }


class EvaluationReport(base_component.BaseComponent):
    """Writes the evaluation report of a run, whether or not the model was blessed.

    Outputs `report`: an EvaluationReport artifact with `report.html`, a self-contained page;
    `model_card.md` with the same report; and `report.json`, the data of both.

    Args:
        model: Channel of the evaluated Model.
        model_run: Channel of the ModelRun, which contains `history.json`.
        predictions: Channel of PredictionTable's Examples.
        evaluation: Channel of TFMA's ModelEvaluation.
        blessing: Channel of QualityGate's ModelBlessing, which contains the verdict.
        serving_check: Channel of ServingCheck's InfraBlessing, which contains its report.
        examples: Channel of the Examples; the gallery reads images from the `test` split.
        rejected: Channel of the RejectedImages.
        statistics: Channel of the ExampleStatistics of all splits.
        data_verdict: Channel of DataGate's verdict, which contains the drift.
        settings: The resolved settings as YAML.
        pipeline_name: Name of the pipeline and its model.
        class_names: Names of the classes with labels 0 and 1.
    """

    SPEC_CLASS = EvaluationReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_run: types.BaseChannel,
        predictions: types.BaseChannel,
        evaluation: types.BaseChannel,
        blessing: types.BaseChannel,
        serving_check: types.BaseChannel,
        examples: types.BaseChannel,
        rejected: types.BaseChannel,
        statistics: types.BaseChannel,
        data_verdict: types.BaseChannel,
        settings: str,
        pipeline_name: str,
        class_names: Sequence[str],
    ) -> None:
        super().__init__(
            EvaluationReportSpec(
                model=model,
                model_run=model_run,
                predictions=predictions,
                evaluation=evaluation,
                blessing=blessing,
                serving_check=serving_check,
                examples=examples,
                rejected=rejected,
                statistics=statistics,
                data_verdict=data_verdict,
                settings=settings,
                pipeline_name=pipeline_name,
                class_names=json.dumps(list(class_names)),
                code_fingerprint=fingerprint.of_code(*_CODE) + fingerprint.of_folder(_TEMPLATES),
                report=types.Channel(type=EvaluationReportFiles),
            )
        )
