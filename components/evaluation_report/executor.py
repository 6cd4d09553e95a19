"""Writes what a run says of itself: the page, the model card, and the figures of both."""

from __future__ import annotations

import json
import logging
import posixpath
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.evaluation_report import model_card, page
from components.evaluation_report.collect import collect
from components.evaluation_report.gallery import illustrate

PAGE, CARD, FIGURES = "report.html", "model_card.md", "report.json"
_SPLIT = "test"

_log = logging.getLogger(__name__)


class Executor(base_executor.BaseExecutor):
    """Collects the facts once, and renders them twice."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the files; see `EvaluationReport` for the artifacts and properties."""
        inputs = {
            name: artifact_utils.get_single_instance(found) for name, found in input_dict.items() if found
        }
        first, second = json.loads(exec_properties["class_names"])
        facts = collect(
            inputs,
            settings=exec_properties["settings"],
            pipeline_name=exec_properties["pipeline_name"],
            class_names=(first, second),
        )
        folder = artifact_utils.get_single_uri(output_dict["report"])
        _write(folder, FIGURES, json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        _write(folder, CARD, model_card.render(facts))
        examples = artifact_utils.get_split_uri([inputs["examples"]], _SPLIT)
        illustrations = illustrate(
            facts["gallery"],
            posixpath.join(examples, "*"),
            path_utils.serving_model_path(inputs["model"].uri),
            second,
        )
        text = page.render(facts, illustrations)
        _write(folder, PAGE, text)
        _log.info("The report is %s (%.1f MB).", posixpath.join(folder, PAGE), len(text.encode()) / 1e6)


def _write(folder: str, name: str, text: str) -> None:
    with tf.io.gfile.GFile(posixpath.join(folder, name), "w") as file:
        file.write(text)
