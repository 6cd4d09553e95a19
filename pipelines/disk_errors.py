"""User errors for a full or read-only disk."""

from __future__ import annotations

import errno
import shlex
from pathlib import Path

from components.errors import PipelineError

MIN_FREE_BYTES = 1_000_000_000  # that a run needs
FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_PERMISSION = (errno.EACCES, errno.EPERM)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
_READ_ONLY_TEXTS = ("Read-only file system", "attempt to write a readonly database")


def find_disk_error(error: BaseException, folder: Path) -> PipelineError | None:
    """Returns a user error if the exception is due to a full or read-only disk, otherwise None.

    Args:
        error: The exception.
        folder: The output root.
    """
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if number in FULL or any(part in text for part in _FULL_TEXTS):
        return PipelineError(
            f"The disk that holds {folder} is full: free at least {MIN_FREE_BYTES / 1e9:.0f} GB "
            f"(catsdogs clean --set {output_root_is(folder)} removes old runs), "
            "or use another disk (--set output_root=DIR)."
        )
    path = Path(str(getattr(error, "filename", None) or folder))
    is_in_folder = path.is_relative_to(folder)
    no_permission = number in _NO_PERMISSION and is_in_folder
    if no_permission or number == errno.EROFS or any(part in text for part in _READ_ONLY_TEXTS):
        reason = "no permission" if no_permission else "read-only"
        cure = ", or use another folder (--set output_root=DIR)" if is_in_folder else ""
        unwritable = folder if is_in_folder else path
        return PipelineError(f"{unwritable} cannot be written ({reason}): make it writable{cure}.")
    return None


def disk_error(error: OSError, folder: Path) -> PipelineError:
    """Returns a user error which names the folder that cannot be written and the remedy."""
    return find_disk_error(error, folder) or PipelineError(
        f"{folder} cannot be written: {error.strerror or error}."
    )


def output_root_is(folder: Path) -> str:
    """Returns the shell-quoted setting `output_root=FOLDER`, for commands in messages."""
    return shlex.quote(f"output_root={folder}")
