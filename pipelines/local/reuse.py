"""Decides which outputs of earlier executions the cache may reuse: only those whose files are unchanged."""

from __future__ import annotations

import logging
from itertools import chain

import ml_metadata
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import types
from tfx.types import artifact_utils

from components import integrity

_log = logging.getLogger(__name__)

_verify_existence = artifact_utils.verify_artifacts


def record_outputs(store: ml_metadata.MetadataStore, execution_id: int) -> None:
    """Records the files of an execution's outputs in ML Metadata, before any later node reads them."""
    events = store.get_events_by_execution_ids([execution_id])
    # What a resolver found is an INTERNAL_OUTPUT: another execution has written it.
    outputs = [event.artifact_id for event in events if event.type == mlmd.Event.OUTPUT]
    artifacts = store.get_artifacts_by_id(outputs)
    for artifact in artifacts:
        integrity.record_files(artifact)
    store.put_artifacts(artifacts)


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
