"""How far a long pass is, for the line beside the running component."""

from __future__ import annotations

import logging
import threading
import time

progress_log = logging.getLogger("catsdogs.progress")
SECONDS = 1.5  # between two lines


class Progress:
    """Counts pictures from any number of threads, and says so now and then.

    Args:
        total: How many there will be.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._count = 0
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def step(self) -> None:
        """Counts one picture."""
        with self._lock:
            self._count += 1
            now = time.monotonic()
            due = now - self._last >= SECONDS or self._count == self._total
            if due:
                self._last = now
                progress_log.info("%s of %s pictures", f"{self._count:,}", f"{self._total:,}")
