"""What an exception in a pod means to whoever reads the pod's log."""

from __future__ import annotations

import errno

from components.errors import PipelineError, chain, told_in

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")


def sentence(error: BaseException) -> PipelineError | None:
    """Returns the error for the user behind an exception, or one about a full disk; None for all others."""
    told = told_in(error)
    if told is not None:
        return told
    for link in chain(error):
        if getattr(link, "errno", None) in _FULL or any(text in str(link) for text in _FULL_TEXTS):
            file = getattr(link, "filename", None)
            where = f" for {file}" if file else ""
            return PipelineError(
                f"There is no space left{where}: give the volume with the state more space if the file lies "
                "there, and else the nodes, as the pod's own files (ephemeral storage) lie on their disks."
            )
    return None
