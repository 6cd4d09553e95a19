"""Which approval counts as the last one; needs ML Metadata alone, as `catsdogs clean` asks it too."""

from __future__ import annotations

from collections.abc import Iterable

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2


def last_given(store: mlmd.MetadataStore, approvals: Iterable[int]) -> dict[int, int]:
    """Orders approvals by when they were last given, be it anew or from the cache.

    Args:
        store: The store that holds them.
        approvals: Ids of artifacts.

    Returns:
        For each of them the id of the execution that output it last (0 where none did); the last given first.
    """
    given_in = dict.fromkeys(approvals, 0)
    # A cached step outputs its old artifact once more; what a Resolver hands on is no output of its own.
    for event in store.get_events_by_artifact_ids(list(given_in)) if given_in else []:
        if event.type == metadata_store_pb2.Event.OUTPUT:
            given_in[event.artifact_id] = max(given_in[event.artifact_id], event.execution_id)
    return dict(sorted(given_in.items(), key=lambda given: given[1], reverse=True))
