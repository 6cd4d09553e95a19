"""Serves a model as it would be served, asks about real pictures, and blesses it or says why not."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.errors import PipelineError
from components.serving_check import examples
from components.serving_check.config import ServingCheckConfig
from components.serving_check.report import REPORT, CheckLimits, Report
from components.serving_check.server import ask, serving
from serving import warmup
from serving.errors import ServingError
from serving.local.server_process import ModelLoadError
from trainer.signatures import EXAMPLES_SIGNATURE, probability_name

_BLESSED, _NOT_BLESSED = "INFRA_BLESSED", "INFRA_NOT_BLESSED"  # InfraValidator's names
_WARMUP_PICTURES = 8
_SIGNATURES = frozenset({"serving_default", EXAMPLES_SIGNATURE})

_log = logging.getLogger(__name__)
_progress = logging.getLogger("catsdogs.progress")


class Executor(base_executor.BaseExecutor):
    """Writes an InfraBlessing as TFX's InfraValidator does, and beside it the report and warm-up requests."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the model; see `ServingCheck` for the artifacts and properties.

        Raises:
            PipelineError: No server could be started, which says nothing about the model.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        config = ServingCheckConfig.model_validate_json(exec_properties["config"])
        chosen = examples.pictures(artifact_utils.get_single_instance(input_dict["examples"]), config.images)
        limits = CheckLimits(config.max_difference, config.max_latency_ms, _SIGNATURES)
        report = Report(exec_properties["model_name"], limits)
        try:
            _progress.info("asking the model as the Evaluator does")
            saved_model = Path(path_utils.serving_model_path(model.uri))
            probability = probability_name(tuple(json.loads(exec_properties["class_names"])))
            report.expected = examples.expected(saved_model, chosen, probability)
            report.names = [picture.name for picture in chosen]
            pictures = [picture.encoded for picture in chosen]
            requests = Path(blessing.uri) / Path(warmup.REQUESTS_FILE).name
            warmup.write_requests(requests, report.model_name, pictures[:_WARMUP_PICTURES])
            _serve(saved_model, requests, pictures, report)
        except (examples.Unloadable, ModelLoadError) as error:
            report.failure = str(error)
        except ServingError as error:
            raise PipelineError(
                f"The serving check cannot start a server ({str(error).splitlines()[0]}): the end of the log "
                "of this step says more."
            ) from error
        _bless(blessing, report)


def _serve(model: Path, requests: Path, pictures: Sequence[bytes], report: Report) -> None:
    """Asks a server about the pictures, and writes into the report what comes of it."""
    with tempfile.TemporaryDirectory(prefix="serving-check-") as folder:
        served, log = Path(folder) / report.model_name, Path(folder) / "server.log"
        _stage(model, requests, served / "1")
        _progress.info("starting a server")
        try:
            with serving(served, report.model_name, log) as server:
                report.server = server.name
                for protocol, url in (("REST", server.rest_url), ("gRPC", server.grpc_url)):
                    _progress.info("%d pictures over %s", len(pictures), protocol)
                    report.exchanges.append(ask(protocol, url, report.model_name, pictures))
        finally:
            if log.exists():
                _log.info("The server wrote:\n%s", log.read_text(encoding="utf-8", errors="replace"))


def _stage(model: Path, requests: Path, version: Path) -> None:
    io_utils.copy_dir(str(model), str(version))
    inside = version / warmup.REQUESTS_FILE
    inside.parent.mkdir(exist_ok=True)
    shutil.copyfile(requests, inside)


def _bless(blessing: types.Artifact, report: Report) -> None:
    """Writes the report, and the verdict where TFX's Pusher and others look for it."""
    text = json.dumps(report.to_dict(), indent=2)
    io_utils.write_string_file(f"{blessing.uri}/{REPORT}", f"{text}\n")
    io_utils.write_string_file(f"{blessing.uri}/{_BLESSED if report.blessed else _NOT_BLESSED}", "")
    blessing.set_int_custom_property("blessed", int(report.blessed))
    for problem in report.problems:
        _log.warning("The model must not be served: %s.", problem)
    if report.blessed:
        _log.info("%s serves the model as it was judged.", report.server)
