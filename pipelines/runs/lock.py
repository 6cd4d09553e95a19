"""One run at a time in an output root: a lock that the kernel releases when its holder is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from components.errors import PipelineError
from pipelines.disk_errors import disk_error

NAME = ".lock"
_PATIENCE = 1.0  # seconds; covers another command's look at the lock, and a killed run's last moments


@contextlib.contextmanager
def hold(output_root: Path, purpose: str) -> Iterator[int]:
    """Holds the output root for the length of the block.

    Args:
        output_root: An existing folder.
        purpose: What for, as others see it: the run id, or the command's name.

    Yields:
        The lock's file descriptor: a child process that inherits it holds the lock too.

    Raises:
        PipelineError: Another process holds it, or the folder cannot be written.
    """
    try:
        fd = os.open(output_root / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise disk_error(error, output_root) from error
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _try(fd, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                pid, other = _read(fd)
                raise PipelineError(
                    f"Process {pid} ({other}) is at work in {output_root}: wait until it has ended or stop "
                    f"it (kill {pid}), or use another folder (--set output_root=DIR)."
                )
            time.sleep(0.05)
        with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {purpose}".encode(), 0)
        yield fd
    finally:
        os.close(fd)


def holder(output_root: Path) -> str | None:
    """Returns the purpose for which the output root is held right now, or None."""
    try:
        fd = os.open(output_root / NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _try(fd, fcntl.LOCK_SH) else _read(fd)[1]
    finally:
        os.close(fd)


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> tuple[str, str]:
    pid, _, purpose = os.pread(fd, 200, 0).decode().partition(" ")
    return pid or "unknown", purpose or "starting"
