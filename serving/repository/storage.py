"""The interface between the model repository and its storage, a folder or an object store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from serving.repository.versions import ModelVersions

GS_SCHEME = "gs://"


@dataclasses.dataclass(frozen=True)
class PushConfig:
    """How a push behaves.

    Attributes:
        model_name: Name of the served model.
        base_path: Path of the repository as TensorFlow Serving sees it.
        keep_versions: How many of the newest versions stay after a push.
    """

    model_name: str
    base_path: str
    keep_versions: int


class VersionExists(Exception):
    """A version with this number exists or is being written."""


class Storage(Protocol):
    """Stores the versions of one model and determines which of them are served.

    A server sees only complete versions, even if a process is killed at any point.

    Attributes:
        address: The folder, or the `gs://` address, without a trailing slash.
    """

    address: str

    def versions(self) -> ModelVersions:
        """Returns the stored versions; empty if the repository does not exist yet."""

    def read(self, name: str, number: int | None = None) -> bytes | None:
        """Returns the contents of a file; None if it does not exist.

        Args:
            name: Name relative to the version's folder, or to the repository.
            number: The version; None for a file of the repository.
        """

    def sizes(self, number: int) -> Mapping[str, int]:
        """Returns the size in bytes of each file of a version, by name relative to its folder."""

    def sha256(self, number: int, name: str) -> str:
        """Returns the checksum of a version's file; empty if the store itself protects the contents."""

    def append(self, name: str, line: str) -> None:
        """Appends a line to a file of the repository."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Locks the repository during the block, if the storage has locks.

        Raises:
            ServingError: The lock could not be acquired in time.
        """

    def staging(self) -> AbstractContextManager[Path]:
        """Creates a local folder to write a version to; the folder is deleted after the block."""

    def flush(self, staged: Path) -> None:
        """Writes a staged version to disk, so that it survives a power failure."""

    def add(self, number: int, staged: Path, manifest_text: str) -> None:
        """Stores a staged version; servers load it after `change`.

        Args:
            number: The version's number.
            staged: Folder with the version's files.
            manifest_text: Contents of its `manifest.json`.

        Raises:
            VersionExists: The number is in use.
        """

    def update_versions(
        self, transition: Callable[[ModelVersions], ModelVersions]
    ) -> tuple[ModelVersions, ModelVersions]:
        """Changes which versions are live and which are rolled back; running servers pick up the change.

        Args:
            transition: Maps the current versions to the new ones. It is called again if another process
                changed them in the meantime. If it raises, nothing changes.

        Returns:
            The versions before and after.
        """

    def remove(self, numbers: list[int]) -> list[int]:
        """Deletes versions, except those that another process started to serve in the meantime.

        Returns:
            The versions that were deleted.
        """

    def remove_stale(self) -> None:
        """Deletes what killed pushes and removals left behind; another machine's only after a day."""
