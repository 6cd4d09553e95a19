"""Serves a model, checks its responses to test images, and writes an InfraBlessing."""

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
from components.serving_check.report import REPORT, CheckLimits, ServingReport
from components.serving_check.server import running_server, send_requests
from serving import warmup
from serving.errors import ServingError
from serving.local.server_process import ModelLoadError
from trainer.signatures import EXAMPLES_SIGNATURE, probability_name

_BLESSED, _NOT_BLESSED = "INFRA_BLESSED", "INFRA_NOT_BLESSED"  # InfraValidator's names
_WARMUP_IMAGES = 8
_SIGNATURES = frozenset({"serving_default", EXAMPLES_SIGNATURE})

_log = logging.getLogger(__name__)
_progress = logging.getLogger("catsdogs.progress")


class Executor(base_executor.BaseExecutor):
    """Writes an InfraBlessing as TFX's InfraValidator does, with the report and warm-up requests."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the model; see `ServingCheck` for the artifacts and properties.

        Raises:
            PipelineError: No server could be started, for a reason other than the model.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        config = ServingCheckConfig.model_validate_json(exec_properties["config"])
        test_images = examples.read_test_images(
            artifact_utils.get_single_instance(input_dict["examples"]), config.images
        )
        limits = CheckLimits(config.max_difference, config.max_latency_ms, _SIGNATURES)
        report = ServingReport(exec_properties["model_name"], limits)
        try:
            _progress.info("computing the expected predictions")
            saved_model = Path(path_utils.serving_model_path(model.uri))
            probability = probability_name(tuple(json.loads(exec_properties["class_names"])))
            report.expected = examples.expected_predictions(saved_model, test_images, probability)
            report.names = [image.name for image in test_images]
            images = [image.encoded for image in test_images]
            requests = Path(blessing.uri) / Path(warmup.REQUESTS_FILE).name
            warmup.write_requests(requests, report.model_name, images[:_WARMUP_IMAGES])
            _serve(saved_model, requests, images, report)
        except (examples.UnusableModel, ModelLoadError) as error:
            report.failure = str(error)
        except ServingError as error:
            raise PipelineError(
                f"The serving check cannot start a server ({str(error).splitlines()[0]}): see the end of the "
                "log of this node."
            ) from error
        _write_blessing(blessing, report)


def _serve(model: Path, requests: Path, images: Sequence[bytes], report: ServingReport) -> None:
    """Starts a server, sends it the images, and adds the results to the report."""
    with tempfile.TemporaryDirectory(prefix="serving-check-") as folder:
        model_dir, log = Path(folder) / report.model_name, Path(folder) / "server.log"
        _write_version(model, requests, model_dir / "1")
        _progress.info("starting a server")
        try:
            with running_server(model_dir, report.model_name, log) as server:
                report.server = server.name
                for protocol, url in (("REST", server.rest_url), ("gRPC", server.grpc_url)):
                    _progress.info("%d images over %s", len(images), protocol)
                    report.results.append(send_requests(protocol, url, report.model_name, images))
        finally:
            if log.exists():
                _log.info("Output of the server:\n%s", log.read_text(encoding="utf-8", errors="replace"))


def _write_version(model: Path, requests: Path, version: Path) -> None:
    io_utils.copy_dir(str(model), str(version))
    warmup_file = version / warmup.REQUESTS_FILE
    warmup_file.parent.mkdir(exist_ok=True)
    shutil.copyfile(requests, warmup_file)


def _write_blessing(blessing: types.Artifact, report: ServingReport) -> None:
    """Writes the report, and the file and property that TFX's Pusher reads."""
    text = json.dumps(report.to_dict(), indent=2)
    io_utils.write_string_file(f"{blessing.uri}/{REPORT}", f"{text}\n")
    io_utils.write_string_file(f"{blessing.uri}/{_BLESSED if report.blessed else _NOT_BLESSED}", "")
    blessing.set_int_custom_property("blessed", int(report.blessed))
    for problem in report.problems:
        _log.warning("The model must not be served: %s.", problem)
    if report.blessed:
        _log.info("%s returns the expected predictions.", report.server)
