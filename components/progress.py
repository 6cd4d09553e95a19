"""Progress of a long pass over the images, shown next to the running component."""

from __future__ import annotations

import logging
import threading
import time

progress_log = logging.getLogger("catsdogs.progress")
REPORT_INTERVAL = 1.5  # seconds


class Progress:
    """Counts images from any number of threads and logs the count every `REPORT_INTERVAL` seconds.

    Args:
        total: Number of images in the whole pass.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._count = 0
        self._last_report = time.monotonic()
        self._lock = threading.Lock()

    def step(self) -> None:
        """Counts one image."""
        with self._lock:
            if self._count == self._total:
                return  # Beam reads images again after a failure
            self._count += 1
            now = time.monotonic()
            is_due = now - self._last_report >= REPORT_INTERVAL or self._count == self._total
            if is_due:
                self._last_report = now
                progress_log.info("%s of %s images", f"{self._count:,}", f"{self._total:,}")
