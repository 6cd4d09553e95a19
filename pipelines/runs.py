"""Past runs, as ML Metadata keeps them: what the local runner notes, and what `catsdogs runs` lists."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

from pipelines import overrides
from pipelines.local import lock
from pipelines.local.summary import Outcome

RUNNING, DONE, REFUSED, FAILED, INTERRUPTED = "running", "done", "refused", "failed", "interrupted"

_RUN_TYPE, _STEP_TYPE = "pipeline_run", "node"
_STATE, _STARTED, _FINISHED, _CLEANED = "state", "started", "finished", "cleaned"
_METRICS, _LOW, _HIGH = ("accuracy", "auc", "loss"), "accuracy_low", "accuracy_high"
_COMPLETE, _CACHED = metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED


@dataclasses.dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        run_id: Its name, and that of its folder.
        started: When, in local time.
        seconds: How long it took; None while it runs or where it was killed.
        state: `running`, `done`, `refused`, `failed` or `interrupted`.
        steps: How many steps it got through, and of these
        cached: how many took an earlier run's outputs.
        accuracy: On `test`; None where nothing was measured.
        accuracy_interval: What it may be in truth: both ends of the 95 % interval.
        auc: Area under the ROC curve, likewise.
        loss: Log loss, likewise.
        blessed: The gate's verdict; None where no gate was asked.
        overridden: Whether a person lifted the gate's refusal.
        overridden_in: The later run in which a person lifted the refusal of this one; None where none did.
        pushed: The version that was pushed; None where none was.
    """

    run_id: str
    started: datetime
    seconds: float | None
    state: str
    steps: int
    cached: int
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    auc: float | None
    loss: float | None
    blessed: bool | None
    overridden: bool
    overridden_in: str | None
    pushed: str | None

    @property
    def verdict(self) -> str:
        """`blessed`, `overridden`, `refused`, or nothing where no gate was asked."""
        if self.blessed is None:
            return ""
        return ("overridden" if self.overridden else "blessed") if self.blessed else "refused"


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


def note_start(store: ml_metadata.MetadataStore, run_id: str, started: float) -> None:
    """Writes that a run is at work, since a time in seconds of the epoch."""
    _note(store, run_id, {_STATE: RUNNING, _STARTED: started})


def note_end(store: ml_metadata.MetadataStore, run_id: str, state: str) -> None:
    """Writes that a run ended before its end: FAILED or INTERRUPTED."""
    _note(store, run_id, {_STATE: state, _FINISHED: time.time()})


def note_outcome(store: ml_metadata.MetadataStore, run_id: str, outcome: Outcome) -> None:
    """Writes how a run that reached its end came out."""
    facts: dict[str, int | float | str] = {_STATE: outcome.state, _FINISHED: time.time()}
    facts |= {name: outcome.metrics[name] for name in _METRICS if name in outcome.metrics}
    if "accuracy" in outcome.intervals:
        facts[_LOW], facts[_HIGH] = outcome.intervals["accuracy"]
    if outcome.blessed is not None:
        facts["blessed"], facts["overridden"] = int(outcome.blessed), int(outcome.overridden)
    if outcome.push:
        facts["pushed"] = outcome.push.version
    _note(store, run_id, facts)


def note_cleaned(store: ml_metadata.MetadataStore, run_id: str) -> None:
    """Notes that a run's folder and artifacts are gone: it is no longer listed."""
    _note(store, run_id, {_CLEANED: 1})


def past(output_root: Path, metadata_path: Path) -> list[Run]:
    """Returns the runs that have not been cleaned away, newest first."""
    store = open_store(metadata_path)
    if store is None:
        return []
    at_work = lock.holder(output_root)
    resolvers = resolver_types(store)
    return [
        _run(store, context, output_root / "runs" / context.name, at_work, resolvers)
        for context in contexts(store)
        if not is_cleaned(context)
    ]


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


def _run(
    store: ml_metadata.MetadataStore,
    context: metadata_store_pb2.Context,
    run_dir: Path,
    at_work: str | None,
    resolvers: set[int],
) -> Run:
    facts = properties(context)
    started = facts.get(_STARTED, context.create_time_since_epoch / 1000)
    state = str(facts.get(_STATE, INTERRUPTED))
    seconds = facts[_FINISHED] - started if _FINISHED in facts else None
    if state == RUNNING and at_work != f"run {context.name}":
        state, seconds = _unnoted_end(run_dir)
    steps = [
        execution
        for execution in store.get_executions_by_context(context.id)
        if has_succeeded(execution) and execution.type_id not in resolvers
    ]
    return Run(
        run_id=context.name,
        started=datetime.fromtimestamp(started).astimezone(),
        seconds=seconds,
        state=state,
        steps=len(steps),
        cached=sum(step.last_known_state == _CACHED for step in steps),
        **{name: facts.get(name) for name in _METRICS},
        accuracy_interval=(facts[_LOW], facts[_HIGH]) if _LOW in facts else None,
        blessed=bool(facts["blessed"]) if "blessed" in facts else None,
        overridden=bool(facts.get("overridden")),
        overridden_in=overrides.lifted_in(run_dir.parent, context.name),
        pushed=facts.get("pushed"),
    )


def _unnoted_end(run_dir: Path) -> tuple[str, float | None]:
    """Returns how a run ended that could not note it, and after how long: its parent knows, if that lived."""
    try:
        summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return INTERRUPTED, None
    return summary["state"], summary["seconds"]


def _note(store: ml_metadata.MetadataStore, run_id: str, facts: Mapping[str, int | float | str]) -> None:
    context = store.get_context_by_type_and_name(_RUN_TYPE, run_id)
    for name, value in facts.items():
        field = {int: "int_value", float: "double_value", str: "string_value"}[type(value)]
        setattr(context.custom_properties[name], field, value)
    store.put_contexts([context])
