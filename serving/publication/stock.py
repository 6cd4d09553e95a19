"""Which versions there are, and what a push, a rollback and the upkeep make of them; no file is touched."""

from __future__ import annotations

import dataclasses

from serving.errors import ServingError, UsageError
from serving.versions import HIGHEST

LOADED = 3  # versions: those that the two labels name, and the one before while a server changes over
_LISTED = 10


@dataclasses.dataclass(frozen=True)
class Stock:
    """The versions of a model.

    Attributes:
        live: Numbers of those a server may load, ascending.
        withdrawn: Numbers of those that were rolled back and are kept, ascending.
    """

    live: tuple[int, ...] = ()
    withdrawn: tuple[int, ...] = ()

    @property
    def served(self) -> int | None:
        """The newest live one, which answers where no version is named."""
        return self.live[-1] if self.live else None

    @property
    def stable(self) -> int | None:
        """The one served before it; the served one itself where it is alone, or was rolled back to."""
        if self.withdrawn and self.live and self.withdrawn[-1] > self.live[-1]:
            return self.served
        return self.live[-2:][0] if self.live else None

    @property
    def known(self) -> tuple[int, ...]:
        """All of them, ascending."""
        return tuple(sorted((*self.live, *self.withdrawn)))

    def next_number(self, now: float) -> int:
        """Returns the next version: the time in seconds of the epoch, and above all that there are.

        Raises:
            ServingError: There is no higher number.
        """
        number = max(int(now), self.known[-1] + 1 if self.known else 0)
        if number > HIGHEST:
            raise ServingError(
                f"Version {HIGHEST} is there, the highest number that TensorFlow Serving takes, and a push "
                "needs a higher one: move that version elsewhere."
            )
        return number

    def with_live(self, number: int) -> Stock:
        """Returns the stock after a push."""
        return Stock(tuple(sorted({*self.live, number})), self.withdrawn)

    def rolled_back(self, target: int) -> Stock:
        """Returns the stock in which a version is the newest live one, and those above it are withdrawn."""
        live = (*(number for number in self.live if number < target), target)
        return Stock(live, tuple(number for number in self.known if number not in live))

    def without(self, numbers: list[int]) -> Stock:
        """Returns the stock after versions were removed."""
        return Stock(
            tuple(number for number in self.live if number not in numbers),
            tuple(number for number in self.withdrawn if number not in numbers),
        )

    def surplus(self, keep: int) -> list[int]:
        """Returns what goes when so many are kept, the oldest first.

        The newest live ones stay, at least those that a server has loaded; withdrawn ones stay while there
        is room beside them, and the newest of them always: what was just taken off can be brought back.
        """
        live = self.live[-max(keep, LOADED) :]
        room = max(keep - len(live), 1)
        return [number for number in self.known if number not in {*live, *self.withdrawn[-room:]}]

    def target(self, wanted: int | None, address: str) -> int:
        """Returns what a rollback leads to.

        Args:
            wanted: A version; None for the one that was served before.
            address: Where the versions are, for the messages.

        Raises:
            UsageError: There is no such version.
        """
        if self.served is None and not self.withdrawn:
            raise UsageError(f"There are no versions in {address} yet: catsdogs run pushes the first.")
        if wanted is None:
            if len(self.live) > 1:
                return self.live[-2]
            if self.served is None:
                raise UsageError(f"No version in {address} is served{self._withdrawn_too()}.")
            raise UsageError(
                f"There is no version before {self.served} in {address} to roll back to"
                f"{self._withdrawn_too()}."
            )
        if wanted not in self.known:
            raise UsageError(f"There is no version {wanted} in {address}; there are {self._nearest(wanted)}.")
        return wanted

    def _withdrawn_too(self) -> str:
        if not self.withdrawn:
            return ""
        newest = self.withdrawn[-1]
        return f"; version {newest} was rolled back, and catsdogs rollback {newest} brings it back"

    def _nearest(self, wanted: int) -> str:
        near = sorted(sorted(self.known, key=lambda number: abs(number - wanted))[:_LISTED])
        more = f" and {len(self.known) - len(near)} more" if len(self.known) > len(near) else ""
        return ", ".join(map(str, near)) + more
