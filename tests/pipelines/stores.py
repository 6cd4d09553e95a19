"""Records runs and output artifacts in a real metadata store, as TFX does."""

from __future__ import annotations

from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipelines.runs import cleanup
from pipelines.settings.tree import Settings


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


class PastRuns:
    """Creates runs of one step each in a real metadata store and on disk, as TFX does."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(output_root=root)
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(root / "metadata.sqlite")
        self.store = ml_metadata.MetadataStore(config)
        context_type = mlmd.ContextType
        self._run_type = self.store.put_context_type(context_type(name="pipeline_run"))
        pipeline_type = self.store.put_context_type(context_type(name="pipeline"))
        self._pipeline = mlmd.Context(type_id=pipeline_type, name="catsdogs")
        [self._pipeline.id] = self.store.put_contexts([self._pipeline])
        self._step = self.store.put_execution_type(mlmd.ExecutionType(name="Step"))

    def run(self, run_id: str, type_name: str, **properties: int | str) -> mlmd.Artifact:
        kind = self.store.put_artifact_type(mlmd.ArtifactType(name=type_name))
        execution = self._new_execution()
        folder = self.settings.artifacts_dir / "Step" / "output" / str(execution.id)
        folder.mkdir(parents=True)
        (folder / "file").write_text(run_id)
        artifact = mlmd.Artifact(type_id=kind, uri=str(folder), state=mlmd.Artifact.LIVE)
        for name, value in properties.items():
            field = "int_value" if isinstance(value, int) else "string_value"
            setattr(artifact.custom_properties[name], field, value)
        return self.output(run_id, artifact, execution=execution)

    def output(
        self,
        run_id: str,
        artifact: mlmd.Artifact,
        kind: int = mlmd.Event.OUTPUT,
        execution: mlmd.Execution | None = None,
    ) -> mlmd.Artifact:
        (self.settings.runs_dir / run_id).mkdir(parents=True)
        context = mlmd.Context(type_id=self._run_type, name=run_id)
        [context.id] = self.store.put_contexts([context])
        self.store.put_parent_contexts([mlmd.ParentContext(child_id=context.id, parent_id=self._pipeline.id)])
        _, [artifact.id], _ = self.store.put_execution(
            execution or self._new_execution(),
            [(artifact, mlmd.Event(type=kind))],
            [self._pipeline, context],
        )
        return artifact

    def _new_execution(self) -> mlmd.Execution:
        execution = mlmd.Execution(type_id=self._step)
        [execution.id] = self.store.put_executions([execution])
        return execution

    def plan(self, output_root: Path | None = None) -> cleanup.CleanupPlan:
        settings = Settings(output_root=output_root) if output_root else self.settings
        return cleanup.plan_cleanup(self.store, settings, keep=1)


def damage(metadata_path: Path, how: str) -> None:
    """Damages a metadata store: `missing`, `garbage`, `truncated` or `empty`."""
    content = metadata_path.read_bytes()
    metadata_path.unlink()
    if how != "missing":
        half = content[: len(content) // 2]
        metadata_path.write_bytes({"garbage": b"not a database " * 100, "truncated": half, "empty": b""}[how])


def files_below(folder: Path) -> set[str]:
    """Returns the names of all files and links below a folder, relative to it."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(folder)) for path in paths}
