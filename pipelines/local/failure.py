"""Turns whatever a component raised into one sentence and an exit status."""

from __future__ import annotations

import textwrap
from pathlib import Path

from components.errors import PipelineError, exception_chain, find_user_error, remove_beam_suffix
from pipelines.disk_errors import find_disk_error

_LONGEST = 300  # characters; TensorFlow's first lines can fill a screen


def explain(error: BaseException, output_root: Path) -> PipelineError:
    """Finds what the user needs to know in an exception and the ones behind it.

    Args:
        error: What was raised.
        output_root: The folder that is named where the disk is at fault.

    Returns:
        The PipelineError somewhere in the chain, unchanged; one about the disk; or one with the
        first line of the exception.
    """
    told = find_user_error(error)
    if told:
        return told
    for link in exception_chain(error):
        about_disk = find_disk_error(link, output_root)
        if about_disk:
            return about_disk
    lines = str(error).strip().splitlines()
    text = remove_beam_suffix(lines[0]) if lines else "no message"
    return PipelineError(f"{type(error).__name__}: {textwrap.shorten(text, _LONGEST, placeholder=' …')}")


def is_expected(error: BaseException) -> bool:
    """Whether the sentence that `explain` finds says it all, so that the log adds nothing."""
    return find_user_error(error) is not None
