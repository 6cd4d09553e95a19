"""Executor and driver of `ModelPusher`, which pushes to the model repository atomically."""

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
from tfx.components.pusher import executor as tfx_pusher
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
from serving.repository.manifest import SAVED_MODEL, Manifest, checksum_files, model_identity
from serving.repository.model_repository import ModelRepository, RolledBack, open_repository
from serving.repository.storage import PushConfig

_INIT_OP = "__saved_model_init_op"  # used by TensorFlow's loader only
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_log = logging.getLogger(__name__)


class Executor(tfx_pusher.Executor):
    """Pushes a model as a new version.

    Version numbers are Unix seconds, as in TFX, and always higher than existing ones. The served model is not
    pushed again, and neither is a model that was rolled back.
    """

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if it is blessed; the component documents artifacts and properties.

        Raises:
            InputError: The destination is invalid.
            PipelineError: The model repository cannot be used.
            OSError: The model repository cannot be written.
        """
        if not input_dict.get(MODEL_BLESSING_KEY):
            raise ValueError("There is no ModelBlessing: only an evaluated model can be pushed.")
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = self.GetModelPath(input_dict)
        with _opened_repository(exec_properties) as repository, repository.staging() as staging:
            version = staging / "version"
            io_utils.copy_dir(model, str(version))
            _add_warmup(input_dict, version)
            run_id = self._context.pipeline_run_id if self._context else None
            manifest = _manifest(version, input_dict, pushed.uri, exec_properties, run_id)
            try:
                number = repository.push(version, manifest)
            except RolledBack as error:
                self._mark_rolled_back(pushed, error.version)
                return
        _log.info("Version %d is served from %s.", number, repository.address)
        io_utils.copy_dir(model, pushed.uri)
        destination = f"{repository.address}/{number}"
        self._MarkPushed(pushed, pushed_destination=destination, pushed_version=str(number))

    def _mark_rolled_back(self, pushed: types.Artifact, version: int) -> None:
        reason = (
            f"This model is version {version}, which was rolled back, so it is not pushed again: "
            f"catsdogs rollback {version} restores it."
        )
        _log.warning(reason)
        self._MarkNotPushed(pushed)
        pushed.set_string_custom_property("withdrawn_version", str(version))
        pushed.set_string_custom_property("reason", reason)


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Adds `replaced_by` to the execution properties: the version that is served instead of the model.

    The property is part of the cache key. Without it, a run with earlier settings would reuse the earlier
    push from the cache, although another model is served by now, or the version is damaged or deleted.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)  # the type that components require
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)  # the type that the launcher runs

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns `replaced_by`; empty if the model is served and intact, or was never pushed.

        Raises:
            PipelineError: The model repository cannot be read.
        """
        model = artifact_utils.get_single_instance(execution_info.input_dict[MODEL_KEY])
        output = driver_output_pb2.DriverOutput()
        with _opened_repository(execution_info.exec_properties) as repository:
            if repository.versions().served is None:
                replaced_by = self._last_push(repository)
            else:
                replaced_by = _replaced_by(repository, Path(path_utils.serving_model_path(model.uri)))
        output.exec_properties["replaced_by"].string_value = replaced_by
        return output

    def _last_push(self, repository: ModelRepository) -> str:
        """Returns a value that no cached push has, for a repository in which no version is served."""
        if self._mlmd_connection is None:
            return ""
        with self._mlmd_connection as connection:
            pushes = connection.store.get_artifacts_by_type(standard_artifacts.PushedModel.TYPE_NAME)
        push_ids = [
            push.id
            for push in pushes
            if push.custom_properties["pushed_destination"].string_value.startswith(f"{repository.address}/")
        ]
        return f"nothing after push {max(push_ids)}" if push_ids else ""


def _replaced_by(repository: ModelRepository, model: Path) -> str:
    versions, files = repository.versions(), checksum_files(model)
    assert versions.served is not None
    matching = repository.matching(versions, files)
    if versions.served in matching.live:
        return f"{versions.served}, damaged" if repository.damage(versions.served) else ""
    was_pushed = matching.known or any(entry.model == model_identity(files) for entry in repository.history())
    if not was_pushed:
        return ""
    newest = versions.known[-1]  # higher than the served one after a rollback, which must change the key
    return str(versions.served) if newest == versions.served else f"{versions.served}, {newest} withdrawn"


@contextlib.contextmanager
def _opened_repository(properties: Mapping[str, Any]) -> Iterator[ModelRepository]:
    """Opens the model repository in the execution properties; translates its errors.

    Raises:
        InputError: The destination is invalid.
        PipelineError: The model repository cannot be used.
    """
    config = PushConfig(properties["model_name"], properties["base_path"], properties["keep_versions"])
    try:
        yield open_repository(properties["destination"], config)
    except UsageError as error:
        raise InputError(str(error)) from error
    except ServingError as error:
        raise PipelineError(str(error)) from error


def _add_warmup(input_dict: Mapping[str, list[types.Artifact]], version: Path) -> None:
    """Copies the warm-up requests of the serving check into the version, if there are any."""
    if not input_dict.get(INFRA_BLESSING_KEY):
        return
    requests = posixpath.join(
        artifact_utils.get_single_uri(input_dict[INFRA_BLESSING_KEY]),
        posixpath.basename(warmup.REQUESTS_FILE),
    )
    if fileio.exists(requests):
        (version / warmup.REQUESTS_FILE).parent.mkdir(exist_ok=True)
        io_utils.copy_file(requests, str(version / warmup.REQUESTS_FILE))


def _manifest(
    version: Path,
    input_dict: Mapping[str, list[types.Artifact]],
    pushed_uri: str,
    properties: Mapping[str, Any],
    run_id: str | None,
) -> Manifest:
    """Returns the manifest of a version that has no number yet.

    Args:
        version: Folder with all files of the version.
        input_dict: Input artifacts of the component.
        pushed_uri: URI of the output artifact.
        properties: Execution properties of the component.
        run_id: Id of the run; None if the orchestrator does not provide it.
    """
    saved_model = saved_model_pb2.SavedModel.FromString((version / SAVED_MODEL).read_bytes())
    graph = saved_model.meta_graphs[0]
    evaluation, examples = input_dict.get("evaluation"), input_dict.get("examples")
    metrics = {}
    if evaluation:
        metrics = tfma_metrics.read(artifact_utils.get_single_uri(evaluation)).whole.short()
    return Manifest(
        files=checksum_files(version),
        model_name=properties["model_name"],
        run_id=run_id or _kubeflow_run_id(pushed_uri),
        data_fingerprint=(
            fingerprint.of_folder(Path(artifact_utils.get_single_uri(examples))) if examples else None
        ),
        code_fingerprints=json.loads(properties["code_fingerprints"]),
        tensorflow_version=graph.meta_info_def.tensorflow_version or None,
        metrics=metrics,
        signatures=tuple(sorted(set(graph.signature_def) - {_INIT_OP})),
    )


def _kubeflow_run_id(uri: str) -> str | None:
    """Returns the run id in an output's URI, `<root>/<pipeline>/<run>/<task>/<id>/<name>`; None if absent."""
    parts = uri.rstrip("/").split("/")
    return parts[-4] if len(parts) > 3 and _UUID.fullmatch(parts[-4]) else None
