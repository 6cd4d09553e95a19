"""Removes old runs and unfinished trainings, and keeps what a later run or the server needs."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

from components.approvals import approval_order
from components.approvals.store import IS_BEST_PROPERTY, TRUE
from components.errors import InputError
from pipelines.runs import metadata, reports, run_folders, run_record
from pipelines.settings.tree import Settings
from serving.repository.model_repository import open_repository

# Artifact type, custom properties of an approval, and the property by which approvals are grouped (or None):
# the newest approval of each group is kept.
_APPROVALS: tuple[tuple[str, dict[str, int | str], str | None], ...] = (
    ("ModelBlessing", {"blessed": 1}, None),
    ("ModelBlessing", {"blessed": 1, IS_BEST_PROPERTY: TRUE}, None),
    ("PushedModel", {"pushed": 1}, None),
    ("catsdogs.DataVerdict", {"blessed": 1}, "source"),
)

_MODEL_ID_PROPERTY = "current_model_id"  # custom property of a ModelBlessing
_TFX_TEMPORARY_FOLDERS = (".system", "_wheels")


@dataclasses.dataclass(frozen=True)
class CleanupPlan:
    """What a cleanup removes.

    Attributes:
        runs: Ids of the runs to remove.
        artifacts: Artifacts to mark as deleted in ML Metadata.
        folders: All folders to remove from the disk.
        size: Size of these folders in bytes.
    """

    runs: list[str]
    artifacts: list[metadata_store_pb2.Artifact]
    folders: list[Path]
    size: int


def plan_cleanup(store: ml_metadata.MetadataStore, settings: Settings, keep: int) -> CleanupPlan:
    """Finds what can be removed. No run may be active: all checkpoints and feature caches are removed.

    The newest runs of each pipeline are kept. So are, whatever their age, the run that pushed the served
    version and the runs with which the next run is compared: the newest blessing, the newest blessing of
    another model, the best model's blessing, and the newest accepted data of each source. A run is kept with
    its report and all artifacts that it read or wrote. What an earlier metadata store described is kept, too:
    runs with steps that this store does not know, and artifacts from before its first execution. Symbolic
    links are neither followed nor removed. The model repository is never changed.

    Args:
        store: The metadata store.
        settings: Names the folders of artifacts, runs, checkpoints and the feature cache.
        keep: Number of runs to keep for each pipeline.

    Raises:
        InputError: An artifact to keep is outside the artifacts folder, so nothing can be removed safely.
        ServingError: The model repository cannot be read.
    """
    all_runs = metadata.run_contexts(store)
    runs = [run for run in all_runs if not metadata.is_cleaned(run)]
    kept_runs = _newest_runs(store, runs, keep)
    kept_runs += _runs_with_approvals(store, runs, _served_version(settings))
    kept = {artifact.id: artifact for artifact in _artifacts_of(store, kept_runs)}
    root = settings.artifacts_dir.resolve()
    _check_location(kept.values(), root)
    unused_artifacts = [
        artifact
        for artifact in store.get_artifacts()
        if artifact.id not in kept and _is_live(artifact) and _resolve(artifact).is_relative_to(root)
    ]
    kept_paths = set(map(_resolve, kept.values()))
    # A run that failed before its first step has a folder, and nothing in ML Metadata.
    kept_names = {run.name for run in kept_runs}.union(run_folders.run_ids(settings)[:keep])
    known_names = {run.name for run in all_runs}
    first_execution = min((execution.id for execution in store.get_executions()), default=math.inf)
    folders = [
        *_unused_artifact_folders(root, kept_paths, first_execution),
        *(
            folder
            for folder in _subfolders(settings.runs_dir)
            if folder.name not in kept_names and (folder.name in known_names or _has_not_begun(folder))
        ),
        *_subfolders(settings.checkpoints_dir),
        *_subfolders(settings.feature_cache_dir),
    ]
    return CleanupPlan(
        runs=[run.name for run in runs if run.name not in kept_names],
        artifacts=unused_artifacts,
        folders=folders,
        size=sum(map(_size, folders)),
    )


def remove_planned(plan: CleanupPlan, store: ml_metadata.MetadataStore) -> None:
    """Removes what `plan_cleanup` found.

    Folders without a record in ML Metadata come first, because ML Metadata cannot be written on a full disk;
    then the records, so that no run reuses a partly removed artifact; then the artifacts.
    """
    uris = set(map(_resolve, plan.artifacts))
    artifact_folders = [folder for folder in plan.folders if any(uri.is_relative_to(folder) for uri in uris)]
    for folder in plan.folders:
        if folder not in artifact_folders:
            shutil.rmtree(folder)
    for artifact in plan.artifacts:
        artifact.state = metadata_store_pb2.Artifact.DELETED
    if plan.artifacts:
        store.put_artifacts(plan.artifacts)
    for run_id in plan.runs:
        metadata.mark_run_as_cleaned(store, run_id)
    for folder in artifact_folders:
        shutil.rmtree(folder)


def _newest_runs(
    store: ml_metadata.MetadataStore, runs: Iterable[metadata_store_pb2.Context], keep: int
) -> list[metadata_store_pb2.Context]:
    runs_by_pipeline: dict[str, list[metadata_store_pb2.Context]] = {}
    for run in runs:
        parents = store.get_parent_contexts_by_context(run.id)
        runs_by_pipeline.setdefault(parents[0].name if parents else "", []).append(run)
    return [run for pipeline_runs in runs_by_pipeline.values() for run in pipeline_runs[:keep]]


def _runs_with_approvals(
    store: ml_metadata.MetadataStore, runs: Iterable[metadata_store_pb2.Context], served_version: int | None
) -> list[metadata_store_pb2.Context]:
    """Returns the runs that produced the newest approvals or pushed the served version."""
    executions = set(_approving_executions(store, served_version))
    return [
        run
        for run in runs
        if not executions.isdisjoint(execution.id for execution in store.get_executions_by_context(run.id))
    ]


def _approving_executions(store: ml_metadata.MetadataStore, served_version: int | None) -> Iterator[int]:
    """Yields the ids of the executions that produced an approval to keep, some of them twice."""
    known_types = {artifact_type.name for artifact_type in store.get_artifact_types()}
    pipelines = store.get_contexts_by_type("pipeline") if known_types else []
    for type_name, properties, group_property in _APPROVALS:
        if type_name not in known_types:
            continue
        for pipeline in pipelines:
            approved = {
                artifact.id: artifact
                for artifact in store.get_artifacts_by_context(pipeline.id)
                if artifact.type == type_name
                and _is_live(artifact)
                and properties.items() <= metadata.custom_properties(artifact).items()
            }
            # By artifact id, newest approval first.
            executions = approval_order.order_by_last_approval(store, approved)
            newest: dict[str, int] = {}
            for artifact_id in executions:
                group = _string_property(approved[artifact_id], group_property) if group_property else ""
                newest.setdefault(group, artifact_id)
            yield from (executions[artifact_id] for artifact_id in newest.values())
            yield from (executions[artifact_id] for artifact_id in _previous_model(executions, approved))
            if type_name == "PushedModel" and approved:  # a cached push is newer than its version
                versions = {artifact_id: _version(approved[artifact_id]) for artifact_id in executions}
                kept_push = max(versions, key=lambda key: (versions[key] == served_version, versions[key]))
                yield executions[kept_push]


def _served_version(settings: Settings) -> int | None:
    """Returns the served version, which after a rollback is not the newest one."""
    return open_repository(settings.serving_destination, settings.push_config).versions().served


def _previous_model(
    artifact_ids: Iterable[int], approved: dict[int, metadata_store_pb2.Artifact]
) -> list[int]:
    """Returns the newest approval of another model than the newest one: the baseline of a new judgement."""
    models = {key: metadata.custom_properties(approved[key]).get(_MODEL_ID_PROPERTY) for key in artifact_ids}
    newest_model = next(iter(models.values()), None)
    return [key for key, model in models.items() if model != newest_model][:1]


def _artifacts_of(
    store: ml_metadata.MetadataStore, runs: Iterable[metadata_store_pb2.Context]
) -> list[metadata_store_pb2.Artifact]:
    """Returns all artifacts that the runs read or wrote."""
    executions = {execution.id for run in runs for execution in store.get_executions_by_context(run.id)}
    events = store.get_events_by_execution_ids(sorted(executions)) if executions else []
    ids = sorted({event.artifact_id for event in events})
    return list(store.get_artifacts_by_id(ids)) if ids else []


def _check_location(kept: Iterable[metadata_store_pb2.Artifact], root: Path) -> None:
    for artifact in kept:
        if _is_live(artifact) and not _resolve(artifact).is_relative_to(root):
            raise InputError(
                f"Nothing was removed: runs to keep use {artifact.uri}, which is not in {root}. Move the "
                "output root back to its former path, or name that path (--set output_root=DIR)."
            )


def _is_live(artifact: metadata_store_pb2.Artifact) -> bool:
    return artifact.state == metadata_store_pb2.Artifact.LIVE


def _resolve(artifact: metadata_store_pb2.Artifact) -> Path:
    return Path(artifact.uri).resolve()  # symbolic links may give a folder several paths


def _string_property(artifact: metadata_store_pb2.Artifact, name: str) -> str:
    return artifact.custom_properties[name].string_value


def _version(pushed: metadata_store_pb2.Artifact) -> int:
    return int(_string_property(pushed, "pushed_version") or 0)


def _has_not_begun(run_dir: Path) -> bool:
    """Returns True if no step of a run has written a log; its record may be damaged."""
    logs = {log.name for log in (run_dir / "logs").glob("*")}
    has_report = (run_dir / reports.REPORT).exists()
    return run_record.is_run_id(run_dir.name) and logs <= {run_record.START_LOG} and not has_report


def _unused_artifact_folders(artifacts_dir: Path, kept: set[Path], first_execution: float) -> Iterator[Path]:
    """Yields the execution folders without a kept artifact, and TFX's temporary folders."""
    temporary = _TFX_TEMPORARY_FOLDERS
    yield from (folder for folder in _subfolders(artifacts_dir) if folder.name in temporary)
    for node in _subfolders(artifacts_dir):
        for output in _subfolders(node):
            if output.name in temporary:
                yield output
            elif node.name not in temporary:
                yield from (
                    folder
                    for folder in _subfolders(output)
                    if folder.name.isdecimal()
                    and int(folder.name) >= first_execution
                    and not any(path.is_relative_to(folder) for path in kept)
                )


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
