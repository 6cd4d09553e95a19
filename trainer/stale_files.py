"""Removes files that killed processes and earlier trainings have left behind."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_UNUSED_SECONDS = 24 * 3600

_log = logging.getLogger(__name__)


def remove_unused(paths: Iterable[Path], description: str) -> None:
    """Removes and logs every path that was not modified for a day; another process may use a newer one.

    Args:
        paths: Files and folders. A process that uses a folder updates its modification time.
        description: What the paths are, for the log.
    """
    for path in paths:
        with suppress(FileNotFoundError):  # another process has just removed it
            if time.time() - path.stat().st_mtime > _UNUSED_SECONDS:
                _log.info("Removed %s, unused for a day: %s.", description, path)
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
