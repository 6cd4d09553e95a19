"""The versions of a served model, and how pushes and rollbacks change them.

TensorFlow Serving treats every sub-folder whose name is a number as a version.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from serving.errors import ServingError, UsageError

MAX_VERSION = 2**63 - 1  # TensorFlow Serving stores versions as int64
LOADED_VERSIONS = 3  # the two that the labels name, and one more while a server loads the next version
_MAX_LISTED = 10


def is_version(name: str) -> bool:
    """Returns True if a folder of this name is a version."""
    return name.isdecimal() and str(int(name)) == name and int(name) <= MAX_VERSION


def list_versions(model_dir: Path, prefix: str = "") -> list[int]:
    """Returns the version numbers in a model's folder in ascending order; empty if it does not exist.

    Args:
        model_dir: The folder.
        prefix: What precedes the number in the names of the sub-folders.
    """
    if not model_dir.is_dir():
        return []
    names = (entry.name.removeprefix(prefix) for entry in model_dir.glob(f"{prefix}[0-9]*") if entry.is_dir())
    return sorted(int(name) for name in names if is_version(name))


def newest_version(model_dir: Path) -> Path | None:
    """Returns the folder of the highest version, which is the served one; None if there is no version."""
    numbers = list_versions(model_dir)
    return model_dir / str(numbers[-1]) if numbers else None


@dataclasses.dataclass(frozen=True)
class ModelVersions:
    """The versions of a model.

    Attributes:
        live: Version numbers that a server may load, ascending.
        rolled_back: Version numbers that were rolled back and are still stored, ascending.
        reserved: Numbers in use by incomplete versions: of running or killed pushes.
    """

    live: tuple[int, ...] = ()
    rolled_back: tuple[int, ...] = ()
    reserved: tuple[int, ...] = dataclasses.field(default=(), compare=False)

    @property
    def served(self) -> int | None:
        """The newest live version, which handles requests that name no version."""
        return self.live[-1] if self.live else None

    @property
    def stable(self) -> int | None:
        """The version before the served one; the served one if it is alone or was rolled back to."""
        if self.rolled_back and self.live and self.rolled_back[-1] > self.live[-1]:
            return self.served
        return self.live[-2:][0] if self.live else None

    @property
    def known(self) -> tuple[int, ...]:
        """All complete versions, ascending."""
        return tuple(sorted((*self.live, *self.rolled_back)))

    def next_number(self, now: float) -> int:
        """Returns the next version number: the Unix time, or higher if a version has that number already.

        Args:
            now: Unix time in seconds.

        Raises:
            ServingError: The highest possible number is in use.
        """
        number = max(int(now), *(used + 1 for used in (*self.known, *self.reserved)), 0)
        if number > MAX_VERSION:
            raise ServingError(
                f"Version {MAX_VERSION} exists, the highest number that TensorFlow Serving accepts, and a "
                "push needs a higher one: move that version elsewhere."
            )
        return number

    def after_push(self, number: int) -> ModelVersions:
        """Returns the versions with a pushed one among the live ones."""
        return dataclasses.replace(self, live=tuple(sorted({*self.live, number})))

    def after_rollback(self, target: int) -> ModelVersions:
        """Returns the versions with `target` as the newest live one and all higher ones rolled back."""
        live = (*(number for number in self.live if number < target), target)
        rolled_back = tuple(number for number in self.known if number not in live)
        return dataclasses.replace(self, live=live, rolled_back=rolled_back)

    def removable(self, keep: int) -> list[int]:
        """Returns the versions to delete so that `keep` remain, the oldest first.

        The newest live versions stay, and at least as many as a server loads. Rolled-back versions fill the
        rest of `keep`. The newest of them always stays, so that the latest rollback can be undone.
        """
        live = self.live[-max(keep, LOADED_VERSIONS) :]
        room = max(keep - len(live), 1)
        return [number for number in self.known if number not in {*live, *self.rolled_back[-room:]}]

    def rollback_target(self, wanted: int | None, address: str) -> int:
        """Returns the version that a rollback serves.

        Args:
            wanted: A version; None for the one before the served version.
            address: Address of the model repository, for error messages.

        Raises:
            UsageError: There is no such version.
        """
        if self.served is None and not self.rolled_back:
            raise UsageError(f"There are no versions in {address} yet: catsdogs run pushes the first.")
        if wanted is None:
            if len(self.live) > 1:
                return self.live[-2]
            if self.served is None:
                raise UsageError(f"No version in {address} is served{self._rolled_back_hint()}.")
            raise UsageError(
                f"There is no version before {self.served} in {address} to roll back to"
                f"{self._rolled_back_hint()}."
            )
        if wanted not in self.known:
            raise UsageError(
                f"There is no version {wanted} in {address}; available versions: {self._nearest(wanted)}."
            )
        return wanted

    def _rolled_back_hint(self) -> str:
        if not self.rolled_back:
            return ""
        newest = self.rolled_back[-1]
        return f"; version {newest} was rolled back, and catsdogs rollback {newest} restores it"

    def _nearest(self, wanted: int) -> str:
        near = sorted(sorted(self.known, key=lambda number: abs(number - wanted))[:_MAX_LISTED])
        more = f" and {len(self.known) - len(near)} more" if len(self.known) > len(near) else ""
        return ", ".join(map(str, near)) + more
