"""What a model repository needs of the place where it lives: a folder, or an object store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from serving.repository.versions import ModelVersions

OBJECT_STORE = "gs://"  # what the address of one begins with


@dataclasses.dataclass(frozen=True)
class PushConfig:
    """How a push behaves.

    Attributes:
        model_name: Name of the served model.
        base_path: What TensorFlow Serving calls the repository.
        keep_versions: How many of the newest versions stay after a push.
    """

    model_name: str
    base_path: str
    keep_versions: int


class NumberTaken(Exception):
    """A version of this number is there already, or is being written."""


class Storage(Protocol):
    """Keeps the versions of one model, and says which of them are served.

    Whatever moment a process is killed at, a server sees whole versions only.

    Attributes:
        address: The folder, or the `gs://` address, without a slash at its end.
    """

    address: str

    def versions(self) -> ModelVersions:
        """Returns which versions there are; none where the repository does not exist yet."""

    def read(self, name: str, number: int | None = None) -> bytes | None:
        """Returns the contents of a file; None where it does not exist.

        Args:
            name: Its name in the version's folder, or in the repository's.
            number: The version; None for a file of the repository.
        """

    def sizes(self, number: int) -> Mapping[str, int]:
        """Returns the bytes of each file of a version, by names relative to its folder."""

    def sha256(self, number: int, name: str) -> str:
        """Returns the checksum of a version's file; empty where the store sees to the contents itself."""

    def append(self, name: str, line: str) -> None:
        """Adds a line to a file of the repository."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Keeps others from changing the repository during the block, where that is possible.

        Raises:
            ServingError: Another process is at work for long.
        """

    def staging(self) -> AbstractContextManager[Path]:
        """Makes a local folder to write a version in, at once; the end of the block removes what is left."""

    def flush(self, staged: Path) -> None:
        """Makes a staged version safe from a power cut."""

    def add(self, number: int, staged: Path, manifest_text: str) -> None:
        """Stores a staged version under a number; `change` has it served.

        Args:
            number: Its number.
            staged: Its files.
            manifest_text: The text of its `manifest.json`.

        Raises:
            NumberTaken: The number is in use.
        """

    def change(
        self, transition: Callable[[ModelVersions], ModelVersions]
    ) -> tuple[ModelVersions, ModelVersions]:
        """Makes the versions those that a transition returns, and has servers follow.

        Args:
            transition: Gets the versions as they are. It is called again when somebody else has changed them
                meanwhile; what it raises leaves them as they are.

        Returns:
            The versions before and after.
        """

    def remove(self, numbers: list[int]) -> list[int]:
        """Deletes versions, but for those that somebody else has chosen to serve meanwhile.

        Returns:
            Those that are gone.
        """

    def remove_stale(self) -> None:
        """Deletes what killed pushes and removals have left; that of another machine after a day."""
