"""Records output artifacts in a real metadata store, as TFX does."""

from __future__ import annotations

from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2 as mlmd


def record_output(metadata_path: Path, run_id: str, name: str, folder: Path) -> None:
    """Records an output artifact of a run.

    Args:
        metadata_path: The metadata store; created if it does not exist.
        run_id: The run.
        name: `Node.output`.
        folder: The folder of the artifact.
    """
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata_path)
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = ml_metadata.MetadataStore(config)
    step, output = name.split(".")
    event = mlmd.Event(type=mlmd.Event.OUTPUT)
    event.path.steps.add(key=output)
    kind = store.put_artifact_type(mlmd.ArtifactType(name=output))
    of_run = store.put_context_type(mlmd.ContextType(name="pipeline_run"))
    of_step = store.put_context_type(mlmd.ContextType(name="node"))
    step_type = store.put_execution_type(mlmd.ExecutionType(name=step))
    store.put_execution(
        mlmd.Execution(type_id=step_type, last_known_state=mlmd.Execution.COMPLETE),
        [(mlmd.Artifact(type_id=kind, uri=str(folder)), event)],
        [mlmd.Context(type_id=of_run, name=run_id), mlmd.Context(type_id=of_step, name=f"catsdogs.{step}")],
        reuse_context_if_already_exist=True,
    )
