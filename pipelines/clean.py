"""Frees the disk of old runs, without touching anything that a later run or the server may want."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

from pipelines import runs

# The newest of each is kept whatever its age, with all that went into it: what the next run compares with.
_APPROVALS = {"ModelBlessing": "blessed", "PushedModel": "pushed", "DataVerdict": None}

_SCRAP = (".system", "_wheels")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What goes.

    Attributes:
        runs: Ids of the runs whose folders and records go.
        artifacts: Artifacts to mark as deleted.
        folders: Everything to remove from the disk.
        size: Bytes that this frees.
    """

    runs: list[str]
    artifacts: list[metadata_store_pb2.Artifact]
    folders: list[Path]
    size: int


def plan(store: ml_metadata.MetadataStore | None, artifacts_dir: Path, runs_dir: Path, keep: int) -> Plan:
    """Finds what may go.

    Kept are the newest runs of each pipeline with all that they read and wrote; beyond these, the
    last blessed model, the last pushed one and the last accepted data, each with what its verdict rests on.
    What is served has a folder of its own, which is not looked at.

    Args:
        store: The store, or None where there is none.
        artifacts_dir: The pipeline root.
        runs_dir: The folder of the run folders.
        keep: How many of the newest runs of each pipeline stay.
    """
    listed = [run for run in runs.contexts(store) if not runs.is_cleaned(run)] if store else []
    kept_runs = _newest(store, listed, keep) if store else []
    kept_artifacts = _kept_artifacts(store, kept_runs) if store else {}
    gone = [
        artifact
        for artifact in (store.get_artifacts() if store else [])
        if artifact.id not in kept_artifacts
        and artifact.state == metadata_store_pb2.Artifact.LIVE
        and Path(artifact.uri).is_relative_to(artifacts_dir)
    ]
    kept_paths = {Path(uri) for uri in kept_artifacts.values()}
    kept_names = {run.name for run in kept_runs}
    folders = [*_unreferenced(artifacts_dir, kept_paths), *_other_folders(runs_dir, kept_names)]
    return Plan(
        runs=[run.name for run in listed if run.name not in kept_names],
        artifacts=gone,
        folders=folders,
        size=sum(map(_size, folders)),
    )


def carry_out(planned: Plan, store: ml_metadata.MetadataStore | None) -> None:
    """Removes what `plan` found.

    What no record speaks of goes first, because ML Metadata cannot be written on a full disk; then the
    records, so that no run takes for whole what is half gone; then the artifacts.
    """
    uris = {Path(artifact.uri) for artifact in planned.artifacts}
    holding = [folder for folder in planned.folders if any(uri.is_relative_to(folder) for uri in uris)]
    for folder in planned.folders:
        if folder not in holding:
            shutil.rmtree(folder)
    if store:
        for artifact in planned.artifacts:
            artifact.state = metadata_store_pb2.Artifact.DELETED
        if planned.artifacts:
            store.put_artifacts(planned.artifacts)
        for run_id in planned.runs:
            runs.note_cleaned(store, run_id)
    for folder in holding:
        shutil.rmtree(folder)


def _newest(
    store: ml_metadata.MetadataStore, listed: Iterable[metadata_store_pb2.Context], keep: int
) -> list[metadata_store_pb2.Context]:
    by_pipeline: dict[str, list[metadata_store_pb2.Context]] = {}
    for run in listed:
        parents = store.get_parent_contexts_by_context(run.id)
        by_pipeline.setdefault(parents[0].name if parents else "", []).append(run)
    return [run for of_pipeline in by_pipeline.values() for run in of_pipeline[:keep]]


def _kept_artifacts(
    store: ml_metadata.MetadataStore, kept_runs: Iterable[metadata_store_pb2.Context]
) -> dict[int, str]:
    """Returns id and place of all artifacts that the kept runs and the last approvals read or wrote."""
    executions = {execution.id for run in kept_runs for execution in store.get_executions_by_context(run.id)}
    executions |= set(_approving_executions(store))
    events = store.get_events_by_execution_ids(sorted(executions)) if executions else []
    ids = sorted({event.artifact_id for event in events})
    return {artifact.id: artifact.uri for artifact in (store.get_artifacts_by_id(ids) if ids else [])}


def _approving_executions(store: ml_metadata.MetadataStore) -> Iterator[int]:
    """Yields, per pipeline, the executions that made the last approvals."""
    known = {kind.name for kind in store.get_artifact_types()}
    pipelines = store.get_contexts_by_type("pipeline") if known else []
    for type_name, flag in _APPROVALS.items():
        if type_name not in known:
            continue
        approved = {
            artifact.id
            for artifact in store.get_artifacts_by_type(type_name)
            if artifact.state == metadata_store_pb2.Artifact.LIVE
            and (flag is None or artifact.custom_properties[flag].int_value == 1)
        }
        for pipeline in pipelines:
            mine = approved & {artifact.id for artifact in store.get_artifacts_by_context(pipeline.id)}
            if mine:
                yield from (event.execution_id for event in store.get_events_by_artifact_ids([max(mine)]))


def _unreferenced(artifacts_dir: Path, kept: set[Path]) -> Iterator[Path]:
    """Yields the folders of single executions that nothing kept lies in, and TFX's own scrap."""
    yield from (artifacts_dir / name for name in _SCRAP if (artifacts_dir / name).is_dir())
    for step in _folders(artifacts_dir):
        for key in _folders(step):
            if key.name in _SCRAP:
                yield key
            elif step.name not in _SCRAP:
                yield from (
                    folder
                    for folder in _folders(key)
                    if folder.name.isdecimal() and not any(path.is_relative_to(folder) for path in kept)
                )


def _other_folders(runs_dir: Path, kept: set[str]) -> Iterator[Path]:
    return (folder for folder in _folders(runs_dir) if folder.name not in kept)


def _folders(of: Path) -> list[Path]:
    return sorted(entry for entry in of.iterdir() if entry.is_dir()) if of.is_dir() else []


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
