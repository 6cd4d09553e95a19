"""Versions of a served model, and what a push, a rollback and the upkeep make of them.

TensorFlow Serving takes for a version each sub-folder that has a number for a name.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from serving.errors import ServingError, UsageError

HIGHEST = 2**63 - 1  # versions are int64 to TensorFlow Serving
LOADED = 3  # versions: those that the two labels name, and the one before while a server changes over
_LISTED = 10


def is_version(name: str) -> bool:
    """Whether a folder of this name is a version."""
    return name.isdecimal() and str(int(name)) == name and int(name) <= HIGHEST


def versions(model_dir: Path, prefix: str = "") -> list[int]:
    """Returns the version numbers in a served model's folder, oldest first; none where it does not exist.

    Args:
        model_dir: The folder.
        prefix: What stands before the number in the names of the sub-folders.
    """
    if not model_dir.is_dir():
        return []
    names = (entry.name.removeprefix(prefix) for entry in model_dir.glob(f"{prefix}[0-9]*") if entry.is_dir())
    return sorted(int(name) for name in names if is_version(name))


def newest(model_dir: Path) -> Path | None:
    """Returns the folder of the highest version, the one that is served, or None where there is none."""
    numbers = versions(model_dir)
    return model_dir / str(numbers[-1]) if numbers else None


@dataclasses.dataclass(frozen=True)
class ModelVersions:
    """The versions of a model.

    Attributes:
        live: Numbers of those that a server may load, ascending.
        withdrawn: Numbers of those that were rolled back and are kept, ascending.
        reserved: Numbers that are in use without being a whole version: of pushes under way or killed.
    """

    live: tuple[int, ...] = ()
    withdrawn: tuple[int, ...] = ()
    reserved: tuple[int, ...] = dataclasses.field(default=(), compare=False)

    @property
    def served(self) -> int | None:
        """The newest live one, which a request gets that names no version."""
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
        """Returns the next version: the time in seconds of the epoch, and above all numbers in use.

        Raises:
            ServingError: There is no higher number.
        """
        number = max(int(now), *(used + 1 for used in (*self.known, *self.reserved)), 0)
        if number > HIGHEST:
            raise ServingError(
                f"Version {HIGHEST} is there, the highest number that TensorFlow Serving takes, and a push "
                "needs a higher one: move that version elsewhere."
            )
        return number

    def with_live(self, number: int) -> ModelVersions:
        """Returns the versions after a push."""
        return dataclasses.replace(self, live=tuple(sorted({*self.live, number})))

    def rolled_back(self, target: int) -> ModelVersions:
        """Returns the versions when one is the newest live one, and those above it are withdrawn."""
        live = (*(number for number in self.live if number < target), target)
        withdrawn = tuple(number for number in self.known if number not in live)
        return dataclasses.replace(self, live=live, withdrawn=withdrawn)

    def surplus(self, keep: int) -> list[int]:
        """Returns what goes when so many are kept, the oldest first.

        The newest live ones stay, at least those that a server has loaded; withdrawn ones stay while there
        is room beside them, and the newest of them always: what was just rolled back can be brought back.
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
