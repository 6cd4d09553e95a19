"""What killed processes and other trainings have left, and nobody wants any more."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_UNUSED_SECONDS = 24 * 3600

_log = logging.getLogger(__name__)


def discard_unused(paths: Iterable[Path], what: str) -> None:
    """Removes, and says so, what was not modified for a day: younger ones may be another process's work.

    Args:
        paths: Files and folders; who works in a folder touches it.
        what: What they are, for the log.
    """
    for path in paths:
        with suppress(FileNotFoundError):  # another process has just removed it
            if time.time() - path.stat().st_mtime > _UNUSED_SECONDS:
                _log.info("Discarded %s not used for a day: %s.", what, path)
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
