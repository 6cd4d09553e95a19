"""Frees the disk of old runs and unfinished trainings, and keeps what a later run or the server rests on."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

from components.approvals import approval_order
from components.approvals.store import IS_BEST_PROPERTY, TRUE
from components.errors import InputError
from pipelines.runs import metadata, run_folders
from pipelines.settings.tree import Settings
from serving.repository.model_repository import open_repository

# Artifact types, what says that they approve, and what sets those apart of which each has a last one.
_APPROVALS: tuple[tuple[str, dict[str, int | str], str | None], ...] = (
    ("ModelBlessing", {"blessed": 1}, None),
    ("ModelBlessing", {"blessed": 1, IS_BEST_PROPERTY: TRUE}, None),
    ("PushedModel", {"pushed": 1}, None),
    ("catsdogs.DataVerdict", {"blessed": 1}, "source"),
)

_MODEL = "current_model_id"  # custom property of a ModelBlessing
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


def plan(store: ml_metadata.MetadataStore | None, settings: Settings, keep: int) -> Plan:
    """Finds what may go, while no run is under way: every checkpoint is taken for abandoned.

    Kept features go as well, since they cost a later training nothing but the time to make them.

    Kept are, of each pipeline, the newest runs and whatever their age those that gave what the next run is
    compared with (the last blessing, that of the model before, the best model's, the last acceptance of data
    from each source) or what is served, each with all that it read and wrote, and with its report. What is
    served has a folder of its own, which is not looked at.

    Args:
        store: The store, or None where there is none.
        settings: Where the artifacts, the run folders, the checkpoints and the kept features are.
        keep: How many of the newest runs of each pipeline stay.

    Raises:
        InputError: What is to be kept lies elsewhere, so that nobody can tell what may go.
        ServingError: What is served cannot be read.
    """
    listed = [run for run in metadata.contexts(store) if not metadata.is_cleaned(run)] if store else []
    kept_runs = _newest(store, listed, keep) if store else []
    kept_runs += _approving(store, listed, _served(settings)) if store else []
    kept = {artifact.id: artifact for artifact in (_artifacts(store, kept_runs) if store else [])}
    root = settings.artifacts_dir.resolve()
    _check_place(kept.values(), root)
    gone = [
        artifact
        for artifact in (store.get_artifacts() if store else [])
        if artifact.id not in kept and _is_live(artifact) and _place(artifact).is_relative_to(root)
    ]
    kept_paths = set(map(_place, kept.values()))
    # A run that failed before its first step has a folder, and nothing in ML Metadata.
    kept_names = {run.name for run in kept_runs}.union(run_folders.run_ids(settings)[:keep])
    folders = [
        *_unreferenced(root, kept_paths),
        *_other_folders(settings.runs_dir, kept_names),
        *_folders(settings.checkpoints_dir),
        *_folders(settings.feature_cache_dir),
    ]
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
    places = set(map(_place, planned.artifacts))
    holding = [folder for folder in planned.folders if any(place.is_relative_to(folder) for place in places)]
    for folder in planned.folders:
        if folder not in holding:
            shutil.rmtree(folder)
    if store:
        for artifact in planned.artifacts:
            artifact.state = metadata_store_pb2.Artifact.DELETED
        if planned.artifacts:
            store.put_artifacts(planned.artifacts)
        for run_id in planned.runs:
            metadata.note_cleaned(store, run_id)
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


def _approving(
    store: ml_metadata.MetadataStore, listed: Iterable[metadata_store_pb2.Context], served: int | None
) -> list[metadata_store_pb2.Context]:
    """Returns the runs that gave the last approvals, or pushed what is served."""
    executions = set(_approving_executions(store, served))
    return [
        run
        for run in listed
        if not executions.isdisjoint(execution.id for execution in store.get_executions_by_context(run.id))
    ]


def _approving_executions(store: ml_metadata.MetadataStore, served: int | None) -> Iterator[int]:
    known = {kind.name for kind in store.get_artifact_types()}
    pipelines = store.get_contexts_by_type("pipeline") if known else []
    for type_name, properties, apart in _APPROVALS:
        if type_name not in known:
            continue
        for pipeline in pipelines:
            approved = {
                artifact.id: artifact
                for artifact in store.get_artifacts_by_context(pipeline.id)
                if artifact.type == type_name
                and _is_live(artifact)
                and properties.items() <= metadata.properties(artifact).items()
            }
            given_in = approval_order.order_by_last_approval(store, approved)
            last: dict[str, int] = {}
            for given in given_in:
                last.setdefault(_text(approved[given], apart) if apart else "", given)
            yield from (given_in[given] for given in last.values())
            yield from (given_in[given] for given in _before(given_in, approved))
            if type_name == "PushedModel" and approved:  # not the last push, if it was from the cache
                versions = {given: _version(approved[given]) for given in given_in}
                yield given_in[max(given_in, key=lambda given: (versions[given] == served, versions[given]))]


def _served(settings: Settings) -> int | None:
    """Returns the served version, which after a rollback is not the highest that was pushed."""
    return open_repository(settings.serving_destination, settings.push_config).versions().served


def _before(given_in: Iterable[int], approved: dict[int, metadata_store_pb2.Artifact]) -> list[int]:
    """Returns the last approval of another model than the last one's, which that is judged beside again."""
    models = {given: metadata.properties(approved[given]).get(_MODEL) for given in given_in}
    last = next(iter(models.values()), None)
    return [given for given, model in models.items() if model != last][:1]


def _artifacts(
    store: ml_metadata.MetadataStore, of: Iterable[metadata_store_pb2.Context]
) -> list[metadata_store_pb2.Artifact]:
    """Returns all artifacts that the runs read or wrote."""
    executions = {execution.id for run in of for execution in store.get_executions_by_context(run.id)}
    events = store.get_events_by_execution_ids(sorted(executions)) if executions else []
    ids = sorted({event.artifact_id for event in events})
    return list(store.get_artifacts_by_id(ids)) if ids else []


def _check_place(kept: Iterable[metadata_store_pb2.Artifact], root: Path) -> None:
    for artifact in kept:
        if _is_live(artifact) and not _place(artifact).is_relative_to(root):
            raise InputError(
                f"Nothing is removed, because runs to be kept use {artifact.uri}, which is not in {root}: "
                "move the output_root back to where these runs were made, or name that place "
                "(--set output_root=DIR)."
            )


def _is_live(artifact: metadata_store_pb2.Artifact) -> bool:
    return artifact.state == metadata_store_pb2.Artifact.LIVE


def _place(artifact: metadata_store_pb2.Artifact) -> Path:
    return Path(artifact.uri).resolve()  # as the same folder may have several names


def _text(artifact: metadata_store_pb2.Artifact, name: str) -> str:
    return artifact.custom_properties[name].string_value


def _version(pushed: metadata_store_pb2.Artifact) -> int:
    return int(_text(pushed, "pushed_version") or 0)


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
