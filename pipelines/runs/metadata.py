"""Opens the metadata store, and reads runs and their output artifacts from it."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

from components.errors import PipelineError

_RUN_TYPE, _NODE_TYPE = "pipeline_run", "node"
_CLEANED = "cleaned"
_LOCK_SECONDS = 30.0  # how long another process may write
_COMPLETE, _CACHED = metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED


@dataclasses.dataclass(frozen=True)
class RunOutput:
    """An output artifact of a run.

    Attributes:
        artifact: The artifact.
        cached: True if an earlier run wrote it.
    """

    artifact: metadata_store_pb2.Artifact
    cached: bool

    def custom_property(self, name: str) -> int | float | str | None:
        """Returns a custom property, or None if it is not set."""
        return custom_properties(self.artifact).get(name)


class UnreadableStore(PipelineError):
    """The metadata store is damaged or cannot be read; the message has the cure."""


def open_store(metadata_path: Path, writable: bool = False) -> ml_metadata.MetadataStore | None:
    """Opens the metadata store; returns None if the file does not exist yet.

    Raises:
        UnreadableStore: The file is damaged or cannot be read.
    """
    if not metadata_path.exists():
        return None
    _check(metadata_path)
    modes = metadata_store_pb2.SqliteMetadataSourceConfig
    return _connect(metadata_path, modes.READWRITE if writable else modes.READONLY)


def prepare_store(metadata_path: Path, artifacts_dir: Path) -> None:
    """Checks the metadata store before a run; creates a new one if the user has moved a damaged one away.

    An artifact's folder has the number of the execution that wrote it. The executions of a new store are
    therefore numbered after those of the earlier store, whose artifacts stay as they are.

    Raises:
        UnreadableStore: The file is damaged or cannot be read.
    """
    executions = [int(folder.name) for folder in artifacts_dir.glob("*/*/*") if folder.name.isdecimal()]
    if metadata_path.exists():
        # An empty file is what a kill in the first run leaves before ML Metadata has created its tables.
        if executions or not metadata_path.is_file() or metadata_path.stat().st_size:
            _check(metadata_path)
    elif executions:
        unfinished = metadata_path.with_name(f"{metadata_path.name}.part")
        unfinished.unlink(missing_ok=True)
        _connect(unfinished, metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE)
        with contextlib.closing(sqlite3.connect(unfinished)) as connection, connection:
            numbered = "INSERT INTO sqlite_sequence (name, seq) VALUES ('Execution', ?)"
            connection.execute(numbered, [max(executions)])
        unfinished.replace(metadata_path)


def _check(metadata_path: Path) -> None:
    """Raises UnreadableStore unless the file is a whole SQLite database with ML Metadata's tables."""
    if not metadata_path.is_file():
        raise UnreadableStore(f"{metadata_path} is not a file: move it away, and repeat the command.")
    try:
        # Writable, because SQLite first undoes what a killed process has half written.
        uri = f"{metadata_path.absolute().as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_LOCK_SECONDS)) as connection:
            [(problem,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
            connection.execute("SELECT schema_version FROM MLMDEnv")
    except sqlite3.DatabaseError as error:
        problem = str(error)
        if isinstance(error, sqlite3.OperationalError) and "no such table" not in problem:
            raise UnreadableStore(
                f"{metadata_path} cannot be read ({problem}): check its permissions, its disk, and whether "
                "another process is writing it, and repeat the command."
            ) from error
    if problem != "ok":
        moved = metadata_path.with_name(f"{metadata_path.name}.damaged")
        move = shlex.join(["mv", str(metadata_path), str(moved)])
        raise UnreadableStore(
            f"{metadata_path} is damaged or not a metadata store ({' '.join(problem.split())}), and nothing "
            f"was changed: put a copy in its place, or move it away ({move}). The next run then creates a "
            "new one: runs, reports and served models stay, but no step is cached, and no earlier model or "
            "data are baselines."
        )


def _connect(metadata_path: Path, mode: int) -> ml_metadata.MetadataStore:
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata_path)
    config.sqlite.connection_mode = mode
    return ml_metadata.MetadataStore(config)


def mark_run_as_cleaned(store: ml_metadata.MetadataStore, run_id: str) -> None:
    """Marks a run as cleaned: its folder and artifacts are removed, and no later run reuses its outputs."""
    context = store.get_context_by_type_and_name(_RUN_TYPE, run_id)
    context.custom_properties[_CLEANED].int_value = 1
    store.put_contexts([context])


def run_contexts(store: ml_metadata.MetadataStore) -> list[metadata_store_pb2.Context]:
    """Returns the contexts of all runs, newest first."""
    if _RUN_TYPE not in {kind.name for kind in store.get_context_types()}:
        return []
    contexts = store.get_contexts_by_type(_RUN_TYPE)
    return sorted(contexts, key=lambda context: context.id, reverse=True)  # the clock may have been set back


def run_outputs(store: ml_metadata.MetadataStore, run_id: str) -> dict[str, RunOutput]:
    """Returns the output artifacts of a run by `Node.output`, excluding those looked up by resolvers."""
    context = store.get_context_by_type_and_name(_RUN_TYPE, run_id)
    resolvers = resolver_types(store)
    executions = {
        execution.id: execution
        for execution in (store.get_executions_by_context(context.id) if context else ())
        if has_succeeded(execution) and execution.type_id not in resolvers
    }
    events = [
        event
        for event in store.get_events_by_execution_ids(list(executions))
        if event.type == metadata_store_pb2.Event.OUTPUT
    ]
    artifacts = {
        artifact.id: artifact
        for artifact in store.get_artifacts_by_id([event.artifact_id for event in events])
    }
    nodes = {execution_id: _node_id(store, execution_id) for execution_id in executions}
    return {
        f"{nodes[event.execution_id]}.{event.path.steps[0].key}": RunOutput(
            artifacts[event.artifact_id], executions[event.execution_id].last_known_state == _CACHED
        )
        for event in events
    }


def has_succeeded(execution: metadata_store_pb2.Execution) -> bool:
    """Returns True if the execution has complete outputs."""
    return execution.last_known_state in {_COMPLETE, _CACHED}


def custom_properties(entity: metadata_store_pb2.Context | metadata_store_pb2.Artifact) -> Mapping[str, Any]:
    """Returns the custom properties of a run's context or of an artifact."""
    values = entity.custom_properties.items()
    return {name: getattr(value, value.WhichOneof("value")) for name, value in values}


def is_resolver(type_name: str) -> bool:
    """Returns True if an execution type is a TFX resolver, which looks up artifacts and writes none."""
    return type_name.endswith(".Resolver")


def resolver_types(store: ml_metadata.MetadataStore) -> set[int]:
    """Returns the ids of the execution types of resolvers."""
    return {kind.id for kind in store.get_execution_types() if is_resolver(kind.name)}


def is_cleaned(context: metadata_store_pb2.Context) -> bool:
    """Returns True if `catsdogs clean` has removed the run."""
    return _CLEANED in context.custom_properties


def _node_id(store: ml_metadata.MetadataStore, execution_id: int) -> str:
    """Returns the id of the node that an execution belongs to."""
    contexts = store.get_contexts_by_execution(execution_id)
    [name] = [context.name for context in contexts if context.type == _NODE_TYPE]
    return str(name.partition(".")[2])  # the part before the dot is the pipeline's name
