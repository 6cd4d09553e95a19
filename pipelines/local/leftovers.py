"""What an interrupted run leaves behind: executions that never ended, and their half-written folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2 as mlmd

_OPEN = {mlmd.Execution.NEW, mlmd.Execution.RUNNING}


def abandon(store: ml_metadata.MetadataStore, artifacts_dir: Path) -> None:
    """Marks all unfinished executions as cancelled, and removes what they had begun to write.

    Only for the holder of the output root's lock: to anyone else an unfinished execution may be at work.
    """
    node_type = store.get_context_type("node") if _has_context_type(store, "node") else None
    for execution in store.get_executions():
        if execution.last_known_state not in _OPEN:
            continue
        execution.last_known_state = mlmd.Execution.CANCELED
        store.put_executions([execution])
        for context in store.get_contexts_by_execution(execution.id):
            if node_type and context.type_id == node_type.id:
                step = context.name.partition(".")[2]
                for folder in (artifacts_dir / step).glob(f"*/{execution.id}"):
                    shutil.rmtree(folder, ignore_errors=True)


def _has_context_type(store: ml_metadata.MetadataStore, name: str) -> bool:
    return any(kind.name == name for kind in store.get_context_types())
