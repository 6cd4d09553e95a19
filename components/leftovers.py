"""Folders that killed processes have left half written or half removed, beside the whole ones."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

_OLD = 24 * 3600  # seconds; nothing takes that long to be written or removed


def sweep(folder: Path, prefix: str = ".") -> None:
    """Removes the folders in a folder whose names begin so and that nobody has touched for a day."""
    oldest = time.time() - _OLD
    for left in folder.glob(f"{prefix}*"):
        try:
            is_old = left.stat().st_mtime < oldest
        except FileNotFoundError:  # its owner has finished
            continue
        if is_old:
            shutil.rmtree(left, ignore_errors=True)
