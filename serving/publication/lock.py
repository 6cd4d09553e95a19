"""One change of a folder of versions at a time: a lock that the kernel releases when its holder is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from serving.errors import ServingError

NAME = ".lock"
_PATIENCE = 60.0  # seconds; the copying is done before, what is done under the lock takes moments


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds a folder for the length of the block, and makes it where it does not exist.

    Raises:
        ServingError: Another process holds it, and does not let go for a minute.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not taken(descriptor):
            if time.monotonic() > deadline:
                raise ServingError(
                    f"Another push or rollback has been at work in {folder} for {_PATIENCE:.0f} s: wait "
                    "until it has ended, or stop it, and repeat."
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def taken(descriptor: int) -> bool:
    """Takes the lock on an open file, if nobody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
