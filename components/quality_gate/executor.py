"""Reads what is known about a model, judges it, and writes the ModelBlessing that the Pusher obeys."""

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
from components.quality_gate import crosscheck, rules, verdict
from components.quality_gate.judge import judge
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import Override, Verdict
from components.serving_check.report import REPORT

BEST = "best"

_log = logging.getLogger(__name__)


class Executor(base_executor.BaseExecutor):
    """Writes a ModelBlessing as TFX's Evaluator does, and beside it the verdict."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Judges the model; see `QualityGate` for the artifacts and properties.

        Raises:
            PipelineError: The Evaluator's figures are not those of the prediction table.
            InputError: The override cannot be read.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        table = prediction_table.read(artifact_utils.get_single_uri(input_dict["predictions"]))
        if rules.usable(table):
            evaluation = tfma_metrics.read(artifact_utils.get_single_uri(input_dict["evaluation"]))
            crosscheck.compare(table, evaluation.whole)
        found = judge(
            table,
            GateLimits.model_validate_json(exec_properties["limits"]),
            _served(artifact_utils.get_single_instance(input_dict["serving_check"])),
            _size(Path(path_utils.serving_model_path(model.uri))),
            _override(exec_properties["override"]),
        )
        verdict.write(blessing.uri, found)
        _bless(blessing, found, model)
        newest = table.baselines["newest"]
        if newest.model_id:
            blessing.set_string_custom_property(
                constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, newest.uri
            )
            blessing.set_int_custom_property(
                constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, newest.model_id
            )


def _served(blessing: types.Artifact) -> Mapping[str, Any]:
    """Returns the serving check's report; where it left none, its verdict alone."""
    path = f"{blessing.uri}/{REPORT}"
    if not fileio.exists(path):
        return {"blessed": False}
    with fileio.open(path) as file:
        report: Mapping[str, Any] = json.loads(file.read())
    return report


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _override(text: str) -> Override | None:
    """Returns a person's decision; None where there is none.

    Raises:
        InputError: It is something else.
    """
    if not text:
        return None
    try:
        given = TypeAdapter(Override).validate_json(text)
    except ValueError as error:
        raise InputError(
            f"The override {text!r} cannot be read: give nothing, or JSON with reason, by and at, as "
            "`catsdogs bless` does."
        ) from error
    return replace(given, applied=False, lifted=())  # which is for the verdict to say


def _bless(blessing: types.Artifact, found: Verdict, model: types.Artifact) -> None:
    """Writes the verdict where TFX's Pusher and resolvers look for it."""
    name = constants.BLESSED_FILE_NAME if found.blessed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(f"{blessing.uri}/{name}", "")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(found.blessed))
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    blessing.set_string_custom_property(BEST, "yes" if found.best else "no")
    for rule in found.rules:
        _log.info("%s: %s. %s", rule.name, rule.state, rule.words)
    (_log.info if found.blessed else _log.warning)("%s", found.sentence)
