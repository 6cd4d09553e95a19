"""Lets the cache reuse only outputs whose files are unchanged since their node wrote them."""

from __future__ import annotations

import logging
from itertools import chain
from typing import Any

from google.protobuf.message import Message
from tfx import types
from tfx.orchestration.portable import launcher
from tfx.proto.orchestration.executable_spec_pb2 import BeamExecutableSpec
from tfx.types import artifact_utils

from components import integrity

_log = logging.getLogger(__name__)

_verify_existence = artifact_utils.verify_artifacts


class RecordingLauncher(launcher.Launcher):
    """Launches a node, and records the files of its outputs in the transaction that publishes them.

    The Beam arguments of the executor do not change the outputs, and are not part of the cache key.
    """

    def __init__(self, executor_spec: Message | None, **options: Any) -> None:
        super().__init__(executor_spec=executor_spec, **options)
        if isinstance(executor_spec, BeamExecutableSpec):
            self._executor_spec = BeamExecutableSpec(python_executor_spec=executor_spec.python_executor_spec)

    def _publish_successful_execution(
        self, execution_id: int, contexts: Any, output_dict: Any, executor_output: Any
    ) -> None:
        for outputs in executor_output.output_artifacts.values():
            for artifact in outputs.artifacts:
                integrity.record_files(artifact)
        super()._publish_successful_execution(execution_id, contexts, output_dict, executor_output)


def verify_cached_outputs(outputs: dict[str, list[types.Artifact]]) -> None:
    """Verifies that cached outputs exist and are undamaged.

    Raises:
        RuntimeError: They are not; TFX's cache then tries an older execution, or the node runs.
    """
    _verify_existence(outputs)
    for artifact in chain.from_iterable(outputs.values()):
        if integrity.is_damaged(artifact.mlmd_artifact):
            _log.warning("The files in %s have changed since they were written: not reused.", artifact.uri)
            raise RuntimeError(f"{artifact.uri} is damaged")


# TFX's cache has no setting for this: it verifies only that the folders of outputs exist.
artifact_utils.verify_artifacts = verify_cached_outputs
