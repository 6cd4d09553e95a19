"""Trying again: exponential back-off with jitter, the server's own Retry-After, a deadline for all tries."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from serving.client.answers import Unreachable

_FIRST_PAUSE = 0.1  # seconds; doubles with every try
_LONGEST_PAUSE = 5.0  # seconds

T = TypeVar("T")


class TryAgain(Exception):
    """A try that failed and need not fail again.

    Attributes:
        error: What the user is told when it was the last one.
        after: Seconds that the server asks to wait; None where it does not say.
    """

    def __init__(self, error: Unreachable, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


@dataclass(frozen=True)
class Retries:
    """How often to try, and for how long.

    Attributes:
        times: How often to try again after the first try.
        timeout: Seconds for all tries together. No try begins later, and each waits for the server at most
            as long as is left.
    """

    times: int
    timeout: float

    def run(self, attempt: Callable[[float], T]) -> T:
        """Returns what the first successful try returns.

        Args:
            attempt: Called with the seconds that are left; raises TryAgain.

        Raises:
            Unreachable: The last try failed, or no time is left for another.
        """
        deadline = time.monotonic() + self.timeout
        pause = _FIRST_PAUSE
        for tries_left in range(self.times, -1, -1):
            try:
                return attempt(max(deadline - time.monotonic(), 0.001))
            except TryAgain as failure:
                # Full jitter, so that clients that failed together do not come back together.
                wait = random.uniform(0, pause) if failure.after is None else failure.after
                if not tries_left or time.monotonic() + wait >= deadline:
                    raise failure.error from None
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("the last try returns or raises")
