"""Prepares an output root for a run, and decides where `catsdogs clean` may delete."""

from __future__ import annotations

import shlex
from pathlib import Path

from components.errors import InputError
from pipelines.disk_errors import disk_error, output_root_is
from pipelines.runs import metadata
from pipelines.runs.run_folders import run_ids
from pipelines.settings.tree import Settings

_MARK = (
    "catsdogs run marks its output root with this file. catsdogs clean deletes old runs, their artifacts,\n"
    "checkpoints and feature caches here, and nothing in a folder without this file.\n"
)


def check_usable(settings: Settings) -> None:
    """Checks that no other program has files where runs write theirs, and where `clean` deletes them.

    Raises:
        InputError: There are such files, or the output root is / or the user's home folder.
    """
    root = settings.output_root.resolve()
    if root in (Path("/"), Path.home()):
        raise InputError(f"output_root is {root}: choose a folder for runs alone, such as ./output.")
    mark = settings.mark_file
    is_from_earlier_version = bool(run_ids(settings))  # earlier versions wrote no mark
    used = used_folders(settings)
    if used and not mark.is_file() and not is_from_earlier_version:
        raise InputError(
            f"{used[0]} is not empty, and {settings.output_root} is not an output root: name another folder "
            "(--set output_root=DIR), so that catsdogs clean cannot delete files of other programs. If "
            f"catsdogs wrote them, mark the folder ({shlex.join(['touch', str(mark)])})."
        )


def prepare(settings: Settings) -> None:
    """Marks the output root as one of catsdogs, and checks or creates its metadata store.

    The caller must have the output root's lock.

    Raises:
        PipelineError: The metadata store is damaged, or the folder cannot be written.
    """
    metadata.prepare_store(settings.metadata_path, settings.artifacts_dir)
    mark = settings.mark_file
    if not mark.is_file():
        try:
            mark.write_text(_MARK, encoding="utf-8")
        except OSError as error:
            raise disk_error(error, settings.output_root) from error


def used_folders(settings: Settings) -> list[Path]:
    """Returns those of the folders in which `catsdogs clean` deletes that are not empty."""
    caches = (settings.checkpoints_dir, settings.feature_cache_dir)
    folders = (settings.runs_dir, settings.artifacts_dir, *caches)
    return [folder for folder in folders if folder.is_dir() and any(folder.iterdir())]


def check_deletable(settings: Settings) -> None:
    """Checks that the output root is marked, and that no folder in which `clean` deletes is a symbolic link.

    Raises:
        InputError: Nothing may be deleted.
    """
    root = settings.output_root
    mark = settings.mark_file
    if not mark.is_file():
        raise InputError(
            f"Nothing was removed: {root} has no file {mark.name}, with which catsdogs run marks its output "
            "root. Name your output root (--set output_root=DIR); if an earlier version wrote this one, "
            f"catsdogs run --set {output_root_is(root)} marks it, or, if its disk is too full for a run, "
            f"{shlex.join(['touch', str(mark)])}."
        )
    for folder in used_folders(settings):
        if folder.is_symlink():
            raise InputError(
                f"Nothing was removed: {folder} is a symbolic link, and catsdogs clean deletes nothing "
                "through links. Replace it by the folder itself, or mount that folder there."
            )
