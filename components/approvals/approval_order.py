"""Orders approvals by time. Needs only ML Metadata, because `catsdogs clean` uses it too."""

from __future__ import annotations

from collections.abc import Iterable

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2


def order_by_last_approval(store: mlmd.MetadataStore, approvals: Iterable[int]) -> dict[int, int]:
    """Orders approvals by when they were last given, by an execution or from the cache.

    Args:
        store: The metadata store.
        approvals: Ids of the approving artifacts.

    Returns:
        The id of the last execution that output each approval (0 if none did), newest first.
    """
    executions = dict.fromkeys(approvals, 0)
    # A cached node outputs its artifact again; a Resolver does not output what it resolves.
    for event in store.get_events_by_artifact_ids(list(executions)) if executions else []:
        if event.type == metadata_store_pb2.Event.OUTPUT:
            executions[event.artifact_id] = max(executions[event.artifact_id], event.execution_id)
    return dict(sorted(executions.items(), key=lambda item: item[1], reverse=True))
