"""Errors of a full or read-only disk, as one sentence with the cure."""

from __future__ import annotations

import errno
import shlex
from pathlib import Path

from components.errors import PipelineError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
_CLOSED_TEXTS = ("Read-only file system", "attempt to write a readonly database")


def find_disk_error(error: BaseException, folder: Path) -> PipelineError | None:
    """Returns the sentence about a full or read-only disk, or None for another error.

    Args:
        error: What was raised.
        folder: The output root.
    """
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if number in _FULL or any(part in text for part in _FULL_TEXTS):
        return PipelineError(
            f"The disk that holds {folder} is full: free some space "
            f"(catsdogs clean --set {output_root_is(folder)} removes old runs), "
            "or use another disk (--set output_root=DIR)."
        )
    named = Path(str(getattr(error, "filename", None) or folder))
    ours = named.is_relative_to(folder)
    forbidden = number in _FORBIDDEN and ours
    if forbidden or number == errno.EROFS or any(part in text for part in _CLOSED_TEXTS):
        why = "no permission" if forbidden else "read-only"
        cure = ", or use another folder (--set output_root=DIR)" if ours else ""
        return PipelineError(
            f"{folder if ours else named} cannot be written ({why}): make it writable{cure}."
        )
    return None


def disk_error(error: OSError, folder: Path) -> PipelineError:
    """Says which folder could not be written and what helps."""
    return find_disk_error(error, folder) or PipelineError(
        f"{folder} cannot be written: {error.strerror or error}."
    )


def output_root_is(folder: Path) -> str:
    """Returns the setting for a shell: advice has to name the folder that the user chose."""
    return shlex.quote(f"output_root={folder}")
