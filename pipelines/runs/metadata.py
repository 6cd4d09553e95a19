"""What ML Metadata keeps of past runs: their steps, and what these put out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

_RUN_TYPE, _STEP_TYPE = "pipeline_run", "node"
_CLEANED = "cleaned"
_COMPLETE, _CACHED = metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED


@dataclasses.dataclass(frozen=True)
class Output:
    """An artifact that a run put out.

    Attributes:
        artifact: The artifact.
        cached: Whether an earlier run made it.
    """

    artifact: metadata_store_pb2.Artifact
    cached: bool

    def custom(self, name: str) -> int | float | str | None:
        """Returns a custom property, or None where it is not set."""
        return properties(self.artifact).get(name)


def open_store(metadata_path: Path, writable: bool = False) -> ml_metadata.MetadataStore | None:
    """Opens the store, or returns None where there is none yet."""
    if not metadata_path.is_file():
        return None
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata_path)
    modes = metadata_store_pb2.SqliteMetadataSourceConfig
    config.sqlite.connection_mode = modes.READWRITE if writable else modes.READONLY
    return ml_metadata.MetadataStore(config)


def note_cleaned(store: ml_metadata.MetadataStore, run_id: str) -> None:
    """Notes that a run's folder and artifacts are gone: no later run takes anything from it."""
    context = store.get_context_by_type_and_name(_RUN_TYPE, run_id)
    context.custom_properties[_CLEANED].int_value = 1
    store.put_contexts([context])


def contexts(store: ml_metadata.MetadataStore) -> list[metadata_store_pb2.Context]:
    """Returns the contexts of all runs, newest first."""
    if _RUN_TYPE not in {kind.name for kind in store.get_context_types()}:
        return []
    found = store.get_contexts_by_type(_RUN_TYPE)
    return sorted(found, key=lambda context: context.create_time_since_epoch, reverse=True)


def outputs(store: ml_metadata.MetadataStore, run_id: str) -> dict[str, Output]:
    """Returns what the steps of a run put out, by `Step.output`; what resolvers looked up is left out."""
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
    steps = {number: _step(store, number) for number in executions}
    return {
        f"{steps[event.execution_id]}.{event.path.steps[0].key}": Output(
            artifacts[event.artifact_id], executions[event.execution_id].last_known_state == _CACHED
        )
        for event in events
    }


def has_succeeded(execution: metadata_store_pb2.Execution) -> bool:
    """Whether an execution's outputs can be used."""
    return execution.last_known_state in {_COMPLETE, _CACHED}


def properties(of: metadata_store_pb2.Context | metadata_store_pb2.Artifact) -> Mapping[str, Any]:
    """Returns the custom properties of a run or an artifact."""
    return {name: getattr(value, value.WhichOneof("value")) for name, value in of.custom_properties.items()}


def is_resolver(type_name: str) -> bool:
    """Whether an execution type is that of a resolver, which only looks something up."""
    return type_name.endswith(".Resolver")


def resolver_types(store: ml_metadata.MetadataStore) -> set[int]:
    """Returns the ids of the execution types of resolvers."""
    return {kind.id for kind in store.get_execution_types() if is_resolver(kind.name)}


def is_cleaned(context: metadata_store_pb2.Context) -> bool:
    """Whether `catsdogs clean` has removed the run."""
    return _CLEANED in context.custom_properties


def _step(store: ml_metadata.MetadataStore, execution: int) -> str:
    """Returns the id of the step that an execution is one of."""
    contexts = store.get_contexts_by_execution(execution)
    [name] = [context.name for context in contexts if context.type == _STEP_TYPE]
    return str(name.partition(".")[2])  # what comes before is the pipeline's name
