"""Lock of an output root, so that one run at a time uses it; the kernel releases it when the process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from components.errors import PipelineError
from pipelines.disk_errors import disk_error

LOCK_FILE = ".lock"
# Long enough for another command to read the lock, and for a killed run to exit.
_ACQUIRE_TIMEOUT_SECONDS = 1.0


@contextlib.contextmanager
def acquire(output_root: Path, purpose: str) -> Iterator[int]:
    """Locks the output root for the length of the block.

    Args:
        output_root: An existing folder.
        purpose: What the lock is for, as other commands display it: the run id or the command's name.

    Yields:
        The lock's file descriptor. A child process that inherits it keeps the lock, too.

    Raises:
        PipelineError: Another process has the lock, or the folder cannot be written.
    """
    try:
        fd = os.open(output_root / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise disk_error(error, output_root) from error
    try:
        deadline = time.monotonic() + _ACQUIRE_TIMEOUT_SECONDS
        while not _try_lock(fd, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                pid, other_purpose = _read_holder(fd)
                raise PipelineError(
                    f"Process {pid} ({other_purpose}) is using {output_root}: wait until it ends, stop it "
                    f"(kill {pid}), or use another folder (--set output_root=DIR)."
                )
            time.sleep(0.05)
        with contextlib.suppress(OSError):  # on a full disk the lock works without its text
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {purpose}".encode(), 0)
        yield fd
    finally:
        os.close(fd)


def holder_purpose(output_root: Path) -> str | None:
    """Returns the purpose of the process that has the lock, or None if the output root is not locked."""
    try:
        fd = os.open(output_root / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _try_lock(fd, fcntl.LOCK_SH) else _read_holder(fd)[1]
    finally:
        os.close(fd)


def _try_lock(fd: int, mode: int) -> bool:
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(fd: int) -> tuple[str, str]:
    """Returns the process id and the purpose of the process that has the lock."""
    pid, _, purpose = os.pread(fd, 200, 0).decode().partition(" ")
    return pid or "unknown", purpose or "starting"
