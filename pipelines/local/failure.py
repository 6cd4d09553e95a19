"""Turns whatever a component raised into one sentence and an exit status."""

from __future__ import annotations

import errno
import shlex
import textwrap
from pathlib import Path

from components.errors import PipelineError, chain, told_in, without_suffix

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LONGEST = 300  # characters; TensorFlow's first lines can fill a screen
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
_CLOSED_TEXTS = ("Read-only file system", "attempt to write a readonly database")


def explain(error: BaseException, output_root: Path) -> PipelineError:
    """Finds what the user needs to know in an exception and the ones behind it.

    Args:
        error: What was raised.
        output_root: The folder that is named where the disk is at fault.

    Returns:
        The PipelineError somewhere in the chain, unchanged; one about the disk; or one with the
        first line of the exception.
    """
    told = told_in(error)
    if told:
        return told
    for link in chain(error):
        about_disk = _disk(link, output_root)
        if about_disk:
            return about_disk
    lines = str(error).strip().splitlines()
    text = without_suffix(lines[0]) if lines else "no message"
    return PipelineError(f"{type(error).__name__}: {textwrap.shorten(text, _LONGEST, placeholder=' …')}")


def disk_error(error: OSError, folder: Path) -> PipelineError:
    """Says which folder could not be written and what helps."""
    return _disk(error, folder) or PipelineError(f"{folder} cannot be written: {error.strerror or error}.")


def output_root_is(folder: Path) -> str:
    """Returns the setting for a shell: advice has to name the folder that the user chose."""
    return shlex.quote(f"output_root={folder}")


def is_expected(error: BaseException) -> bool:
    """Whether the sentence that `explain` finds says it all, so that the log adds nothing."""
    return told_in(error) is not None


def _disk(error: BaseException, folder: Path) -> PipelineError | None:
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
