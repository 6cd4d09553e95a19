"""Writes report.html, model_card.md and report.json for a run."""

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
from components.evaluation_report.gallery import render_thumbnails
from components.evaluation_report.report_data import collect_report_data

PAGE, CARD, REPORT_JSON = "report.html", "model_card.md", "report.json"
_SPLIT = "test"

_log = logging.getLogger(__name__)


class Executor(base_executor.BaseExecutor):
    """Collects the report data and renders it as a page and as a model card."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the files; see `EvaluationReport` for the artifacts and properties."""
        inputs = {
            name: artifact_utils.get_single_instance(artifacts)
            for name, artifacts in input_dict.items()
            if artifacts
        }
        first, second = json.loads(exec_properties["class_names"])
        report = collect_report_data(
            inputs,
            settings=exec_properties["settings"],
            pipeline_name=exec_properties["pipeline_name"],
            class_names=(first, second),
        )
        folder = artifact_utils.get_single_uri(output_dict["report"])
        _write(folder, REPORT_JSON, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        _write(folder, CARD, model_card.render(report))
        examples = artifact_utils.get_split_uri([inputs["examples"]], _SPLIT)
        thumbnails = render_thumbnails(
            report["gallery"],
            posixpath.join(examples, "*"),
            path_utils.serving_model_path(inputs["model"].uri),
            second,
        )
        text = page.render(report, thumbnails)
        _write(folder, PAGE, text)
        _log.info("Wrote the report %s (%.1f MB).", posixpath.join(folder, PAGE), len(text.encode()) / 1e6)


def _write(folder: str, name: str, text: str) -> None:
    with tf.io.gfile.GFile(posixpath.join(folder, name), "w") as file:
        file.write(text)
