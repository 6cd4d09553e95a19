"""What is laid down for a push, and what pushes that were killed have left of it."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from serving.publication.lock import taken

STAGING = ".pushing-"  # TensorFlow Serving ignores folders whose name is not a number
REMOVING = ".removing-"
_OWNER = ".owner"
_OLD = 24 * 3600  # seconds; no push takes that long


def staged_in(folder: Path) -> AbstractContextManager[Path]:
    """Makes a sub-folder that only its maker writes, at once, and removes it when the block ends.

    The folder's lock must be held for the call, not for the block.
    """
    staging = folder / f"{STAGING}{uuid.uuid4().hex}"
    staging.mkdir()
    owner = os.open(staging / _OWNER, os.O_RDWR | os.O_CREAT, 0o666)
    taken(owner)  # for as long as this process lives
    os.write(owner, platform.node().encode())
    return _until_done(staging, owner)


@contextlib.contextmanager
def _until_done(staging: Path, owner: int) -> Iterator[Path]:
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(owner)


def sweep(folder: Path) -> None:
    """Removes what is half written or half removed, and whose owner is gone.

    Whether the owner lives is known for this machine alone; what another one has begun stays for a day. The
    folder's lock must be held.
    """
    for left in folder.glob(f"{REMOVING}*"):
        discard(left)
    for left in folder.glob(f"{STAGING}*"):
        with contextlib.suppress(FileNotFoundError):  # its owner has finished
            if left.stat().st_mtime < time.time() - _OLD or _is_abandoned(left):
                discard(left)


def discard(folder: Path) -> None:
    """Deletes a folder as far as that is allowed; of a link to one, the link."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(left: Path) -> bool:
    if not any(left.iterdir()):
        return True
    try:
        owner = os.open(left / _OWNER, os.O_RDWR)
    except OSError:  # there is none, or it is another user's: nothing is known
        return False
    try:
        return os.read(owner, 256) in (b"", platform.node().encode()) and taken(owner)
    finally:
        os.close(owner)
