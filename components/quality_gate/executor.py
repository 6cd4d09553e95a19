"""Judges a model and writes the ModelBlessing that the Pusher requires."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components import tfma_metrics
from components.errors import InputError
from components.prediction_table import table as prediction_table
from components.quality_gate import tfma_agreement, threshold_rules, verdict
from components.quality_gate.judge import judge
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import Override, Verdict
from components.serving_check.report import REPORT

BEST = "best"

_log = logging.getLogger(__name__)


class Executor(base_executor.BaseExecutor):
    """Writes a ModelBlessing as TFX's Evaluator does, and `verdict.json` in its folder."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Judges the model; see `QualityGate` for the artifacts and properties.

        Raises:
            PipelineError: The Evaluator's metrics disagree with the prediction table.
            InputError: The override is invalid.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        table = prediction_table.read(artifact_utils.get_single_uri(input_dict["predictions"]))
        if threshold_rules.has_valid_predictions(table):
            evaluation = tfma_metrics.read(artifact_utils.get_single_uri(input_dict["evaluation"]))
            tfma_agreement.require_agreement(table, evaluation.whole)
        decision = judge(
            table,
            GateLimits.model_validate_json(exec_properties["limits"]),
            _read_serving_report(artifact_utils.get_single_instance(input_dict["serving_check"])),
            _folder_size(Path(path_utils.serving_model_path(model.uri))),
            _parse_override(exec_properties["override"]),
        )
        verdict.write(blessing.uri, decision)
        _write_blessing(blessing, decision, model)
        newest = table.baselines["newest"]
        if newest.model_id:
            blessing.set_string_custom_property(
                constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, newest.uri
            )
            blessing.set_int_custom_property(
                constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, newest.model_id
            )


def _read_serving_report(blessing: types.Artifact) -> Mapping[str, Any]:
    """Reads the serving check's report; without a report, the model counts as not blessed."""
    path = f"{blessing.uri}/{REPORT}"
    if not fileio.exists(path):
        return {"blessed": False}
    with fileio.open(path) as file:
        report: Mapping[str, Any] = json.loads(file.read())
    return report


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _parse_override(text: str) -> Override | None:
    """Parses the override; returns None for an empty text.

    Raises:
        InputError: The text is not a valid override.
    """
    if not text:
        return None
    try:
        override = TypeAdapter(Override).validate_json(text)
    except ValueError as error:
        raise InputError(
            f"The override {text!r} is invalid: use an empty text, or JSON with reason, by and at as "
            "`catsdogs bless` writes it."
        ) from error
    return replace(override, applied=False, lifted=())  # the verdict sets these


def _write_blessing(blessing: types.Artifact, decision: Verdict, model: types.Artifact) -> None:
    """Writes the blessing file and the custom properties that TFX's Pusher and resolvers read."""
    name = constants.BLESSED_FILE_NAME if decision.blessed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(f"{blessing.uri}/{name}", "")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(decision.blessed))
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    blessing.set_string_custom_property(BEST, "yes" if decision.best else "no")
    for rule in decision.rules:
        _log.info("%s: %s. %s", rule.name, rule.state, rule.words)
    (_log.info if decision.blessed else _log.warning)("%s", decision.sentence)
