"""Copies a task's artifacts to a folder that Beam's workers on a cluster see, too, and its results back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.kubeflow.container.executor_input import Json, all_artifacts
from pipelines.kubeflow.container.paths import Paths

# Longer than a Beam step takes. A pod that dies with its node leaves its folder to whichever task comes next.
_STALE_SECONDS = 7 * 24 * 3600


@contextmanager
def staged_artifacts(prepared: Json, paths: Paths, folder: Path) -> Iterator[Paths]:
    """Yields where the copies of the inputs are, and where the outputs are to be written.

    The outputs are copied to the launcher's folders if nothing is raised; then the copies are removed.

    Args:
        prepared: The ExecutorInput.
        paths: Where the launcher has put the inputs and expects the outputs.
        folder: The folder for the copies, which must be empty or absent; its parent may hold others' folders.
    """
    _remove_stale(folder.parent)
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
    shared = Paths(folder)
    try:
        for artifact in all_artifacts(prepared["inputs"]["artifacts"]):
            _copy(paths.local_path(artifact["uri"]), shared.local_path(artifact["uri"]))
        yield shared
        for artifact in all_artifacts(prepared["outputs"]["artifacts"]):
            _copy(shared.local_path(artifact["uri"]), paths.local_path(artifact["uri"]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def execution_name(prepared: Json) -> str:
    """Returns `RUN-TASK-EXECUTION`: the same for all attempts of a task in a run, and for nothing else."""
    uri: str = all_artifacts(prepared["outputs"]["artifacts"])[0]["uri"]
    return "-".join(uri.rsplit("/", 4)[1:4])


def _copy(source: Path, target: Path) -> None:
    if source != target and source.exists():  # an artifact on a volume has one path for all
        shutil.copytree(source, target, dirs_exist_ok=True)


def _remove_stale(parent: Path) -> None:
    for folder in parent.glob("*"):
        with suppress(FileNotFoundError):  # another task removes its own
            if folder.stat().st_mtime < time.time() - _STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
