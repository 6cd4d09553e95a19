"""TFX's Pusher, for a model repository in which versions appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import logging
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2
from tfx import types
from tfx.components.pusher import executor as stock
from tfx.dsl.components.base import base_driver
from tfx.dsl.io import fileio
from tfx.orchestration import metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.standard_component_specs import (
    INFRA_BLESSING_KEY,
    MODEL_BLESSING_KEY,
    MODEL_KEY,
    PUSHED_MODEL_KEY,
)
from tfx.utils import io_utils, path_utils

from components import fingerprint, tfma_metrics
from components.errors import InputError, PipelineError
from serving import warmup
from serving.errors import ServingError, UsageError
from serving.repository.manifest import SAVED_MODEL, Manifest, files_in, identity
from serving.repository.publish import ModelRepository, RolledBack, open_repository
from serving.repository.storage import PushConfig

_INIT_OP = "__saved_model_init_op"  # TensorFlow's own, for its loader
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_log = logging.getLogger(__name__)


class Executor(stock.Executor):
    """Writes a version beside the others, and has it published.

    Versions are Unix seconds, as in TFX, and always above those already there. A model that is being served
    as the newest version is not pushed again, and neither is one that was rolled back.
    """

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if it is blessed; see the component for the artifacts and properties.

        Raises:
            InputError: The destination does not fit.
            PipelineError: It cannot be used now.
            OSError: It cannot be written.
        """
        if not input_dict.get(MODEL_BLESSING_KEY):
            raise ValueError("There is no blessing, and a model that nobody judged is not pushed.")
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = self.GetModelPath(input_dict)
        with _opened(exec_properties) as repository, repository.staging() as staging:
            version = staging / "version"
            io_utils.copy_dir(model, str(version))
            _add_warmup(input_dict, version)
            run_id = self._context.pipeline_run_id if self._context else None
            described = _describe(version, input_dict, pushed.uri, exec_properties, run_id)
            try:
                number = repository.publish(version, described)
            except RolledBack as found:
                self._refuse(pushed, found.version)
                return
        _log.info("Version %d is the newest in %s.", number, repository.address)
        io_utils.copy_dir(model, pushed.uri)
        destination = f"{repository.address}/{number}"
        self._MarkPushed(pushed, pushed_destination=destination, pushed_version=str(number))

    def _refuse(self, pushed: types.Artifact, withdrawn: int) -> None:
        reason = (
            f"This model was version {withdrawn}, which was rolled back, and so it is not pushed again: "
            f"catsdogs rollback {withdrawn} brings it back."
        )
        _log.warning(reason)
        self._MarkNotPushed(pushed)
        pushed.set_string_custom_property("withdrawn_version", str(withdrawn))
        pushed.set_string_custom_property("reason", reason)


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Adds `replaced_by` to the execution properties: what is there in place of the model that was pushed.

    It does so before the cache is asked. Without it, going back to earlier settings would find the earlier
    push in the cache, and leave the model that replaced it in its place; or a version that is damaged or gone
    as it is.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)  # the class TFX asks components for
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)  # the class it runs

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the addition, empty for a model that is served, whole, or never was.

        Raises:
            PipelineError: The model repository cannot be read.
        """
        model = artifact_utils.get_single_instance(execution_info.input_dict[MODEL_KEY])
        output = driver_output_pb2.DriverOutput()
        with _opened(execution_info.exec_properties) as repository:
            if repository.versions().served is None:
                replaced_by = self._gone(repository)
            else:
                replaced_by = _replaced_by(repository, Path(path_utils.serving_model_path(model.uri)))
        output.exec_properties["replaced_by"].string_value = replaced_by
        return output

    def _gone(self, repository: ModelRepository) -> str:
        """Names the last push to where nothing is served, so that none is found in the cache."""
        if self._mlmd_connection is None:
            return ""
        with self._mlmd_connection as connection:
            pushes = connection.store.get_artifacts_by_type(standard_artifacts.PushedModel.TYPE_NAME)
        there = [
            push.id
            for push in pushes
            if push.custom_properties["pushed_destination"].string_value.startswith(f"{repository.address}/")
        ]
        return f"nothing after push {max(there)}" if there else ""


def _replaced_by(repository: ModelRepository, model: Path) -> str:
    versions, files = repository.versions(), files_in(model)
    assert versions.served is not None
    found = repository.matching(versions, files)
    if versions.served in found.live:
        return f"{versions.served}, damaged" if repository.damage(versions.served) else ""
    was_pushed = found.known or any(entry.model == identity(files) for entry in repository.history())
    if not was_pushed:
        return ""
    newest = versions.known[-1]  # above the served one after a rollback, which makes it another situation
    return str(versions.served) if newest == versions.served else f"{versions.served}, {newest} withdrawn"


@contextlib.contextmanager
def _opened(properties: Mapping[str, Any]) -> Iterator[ModelRepository]:
    """Opens the repository of a Pusher's execution properties; its errors become those that end a run.

    Raises:
        InputError: The destination does not fit.
        PipelineError: It cannot be used now.
    """
    config = PushConfig(properties["model_name"], properties["base_path"], properties["keep_versions"])
    try:
        yield open_repository(properties["destination"], config)
    except UsageError as error:
        raise InputError(str(error)) from error
    except ServingError as error:
        raise PipelineError(str(error)) from error


def _add_warmup(input_dict: Mapping[str, list[types.Artifact]], version: Path) -> None:
    """Adds the requests with which a server warms up, where the check of the model has made some."""
    if not input_dict.get(INFRA_BLESSING_KEY):
        return
    made = posixpath.join(
        artifact_utils.get_single_uri(input_dict[INFRA_BLESSING_KEY]), posixpath.basename(warmup.FILE)
    )
    if fileio.exists(made):
        (version / warmup.FILE).parent.mkdir(exist_ok=True)
        io_utils.copy_file(made, str(version / warmup.FILE))


def _describe(
    version: Path,
    input_dict: Mapping[str, list[types.Artifact]],
    pushed_uri: str,
    properties: Mapping[str, Any],
    run_id: str | None,
) -> Manifest:
    """Returns the manifest of a version that has no number yet.

    Args:
        version: Folder with all of its files.
        input_dict: The Pusher's inputs.
        pushed_uri: Where the Pusher's output is.
        properties: The Pusher's execution properties.
        run_id: The run's name; None where the orchestrator does not tell.
    """
    saved_model = saved_model_pb2.SavedModel.FromString((version / SAVED_MODEL).read_bytes())
    graph = saved_model.meta_graphs[0]
    evaluation, examples = input_dict.get("evaluation"), input_dict.get("examples")
    metrics = {}
    if evaluation:
        metrics = tfma_metrics.read(artifact_utils.get_single_uri(evaluation)).whole.short()
    return Manifest(
        files=files_in(version),
        model_name=properties["model_name"],
        run_id=run_id or _run_of_kubeflow(pushed_uri),
        data_fingerprint=(
            fingerprint.of_folder(Path(artifact_utils.get_single_uri(examples))) if examples else None
        ),
        code_fingerprints=json.loads(properties["code_fingerprints"]),
        tensorflow_version=graph.meta_info_def.tensorflow_version or None,
        metrics=metrics,
        signatures=tuple(sorted(set(graph.signature_def) - {_INIT_OP})),
    )


def _run_of_kubeflow(uri: str) -> str | None:
    """Returns the run's id from the address of an output, `<root>/<pipeline>/<run>/<step>/<id>/<name>`."""
    parts = uri.rstrip("/").split("/")
    return parts[-4] if len(parts) > 3 and _UUID.fullmatch(parts[-4]) else None
