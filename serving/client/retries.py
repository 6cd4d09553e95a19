"""Retries requests with exponential backoff."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from serving.errors import ServingError

_FIRST_PAUSE = 0.1  # seconds; doubles with every retry
_LONGEST_PAUSE = 5.0  # seconds

T = TypeVar("T")


class RetryableError(Exception):
    """An attempt failed, but a retry may succeed.

    Attributes:
        error: The error to raise if there are no more retries.
        after: Seconds to wait as requested by the server; None if it did not request a time.
    """

    def __init__(self, error: ServingError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


@dataclass(frozen=True)
class RetryPolicy:
    """Number of retries and time limit of a request.

    Attributes:
        times: Maximum number of retries after the first attempt.
        timeout: Seconds for all attempts together. No attempt starts later, and each waits only for the
            remaining time.
    """

    times: int
    timeout: float

    def run(self, attempt: Callable[[float], T]) -> T:
        """Calls `attempt` until it succeeds, and returns its result.

        Args:
            attempt: Called with the remaining seconds; raises RetryableError.

        Raises:
            Unreachable: The last attempt failed, or there is no time for another one.
        """
        deadline = time.monotonic() + self.timeout
        pause = _FIRST_PAUSE
        for retries_left in range(self.times, -1, -1):
            try:
                return attempt(max(deadline - time.monotonic(), 0.001))
            except RetryableError as failure:
                # Full jitter, so that clients that fail together do not retry together.
                wait = random.uniform(0, pause) if failure.after is None else failure.after
                if not retries_left or time.monotonic() + wait >= deadline:
                    raise failure.error from None
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("the last attempt returns or raises")
