"""What a place of served versions can do, be it a folder or a bucket."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from serving.publication.history import Entry
from serving.publication.manifest import File, Manifest, identity
from serving.publication.stock import Stock

BUCKET_SCHEME = "gs://"


class RolledBack(Exception):
    """A model that was taken off is not published again, but brought back by a rollback to it.

    Attributes:
        version: Its number.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version} was rolled back")
        self.version = version


@dataclasses.dataclass(frozen=True)
class Terms:
    """What is said of the model beside its files.

    Attributes:
        model_name: Name of the served model.
        base_path: What TensorFlow Serving calls the place.
        keep_versions: How many of the newest versions stay after a push.
    """

    model_name: str
    base_path: str
    keep_versions: int


class Place(Protocol):
    """The versions of one model.

    Attributes:
        address: The folder, or the `gs://` address, without a slash at its end.
    """

    address: str

    def stock(self) -> Stock:
        """Returns which versions there are; none where the place does not exist yet."""

    def manifest(self, number: int) -> Manifest | None:
        """Returns a version's manifest, None where it was pushed without.

        Raises:
            ValueError: It cannot be read.
        """

    def files(self, number: int) -> Mapping[str, File]:
        """Returns size and checksum of a version's files, as its manifest has them or else as they are."""

    def damage(self, number: int) -> str | None:
        """Says what of a version is not as it was pushed; None where everything is."""

    def size(self, number: int) -> int:
        """Returns a version's size in bytes."""

    def history(self) -> list[Entry]:
        """Returns what was done, the oldest first."""

    def staging(self) -> AbstractContextManager[Path]:
        """Gives an empty folder to lay a version down in, and removes what is left of it afterwards."""

    def publish(self, staged: Path, manifest: Manifest) -> int:
        """Makes a folder of `staging` the newest version, whole or not at all.

        Args:
            staged: The version's files; they are gone from there afterwards.
            manifest: What is known of it.

        Returns:
            The version's number: a new one, or that of the served version where it is the same model.

        Raises:
            RolledBack: It is a model that was taken off.
            ServingError: Somebody else is at work for long, or the place cannot be used.
        """

    def roll_back(self, wanted: int | None, reason: str | None = None) -> tuple[int | None, int]:
        """Makes an earlier or a withdrawn version the newest live one; nothing is deleted.

        Args:
            wanted: The version; None for the one that was served before.
            reason: Why, for the history.

        Returns:
            The version that was served before, and the one that is served now; they are the same where there
            was nothing to do.

        Raises:
            UsageError: There is no such version.
            ServingError: It is damaged, something is in its way, or somebody else is at work for long.
        """


def open_place(destination: str, terms: Terms) -> Place:
    """Returns the place at a folder's path or a `gs://` address; it need not exist yet.

    Raises:
        UsageError: The address is none.
        ServingError: There are no credentials for the bucket.
    """
    if destination.startswith(BUCKET_SCHEME):
        from serving.publication.bucket import BucketPlace  # takes half a second

        return BucketPlace(destination, terms)
    from serving.publication.folder import FolderPlace

    return FolderPlace(Path(destination), terms)


def holding(place: Place, stock: Stock, files: Mapping[str, File]) -> Stock:
    """Returns those of a stock's versions that are the model of these files."""
    wanted = identity(files)

    def is_it(number: int) -> bool:
        try:
            return identity(place.files(number)) == wanted
        except ValueError:  # a manifest that cannot be read tells nothing
            return False

    return Stock(tuple(filter(is_it, stock.live)), tuple(filter(is_it, stock.withdrawn)))


def already_served(place: Place, stock: Stock, files: Mapping[str, File]) -> int | None:
    """Returns the served version, where it is the model of these files and whole; otherwise None.

    Raises:
        RolledBack: It is a model that was taken off.
    """
    found = holding(place, stock, files)
    if stock.served is not None and stock.served in found.live:
        return None if place.damage(stock.served) else stock.served
    if found.withdrawn:
        raise RolledBack(found.withdrawn[-1])
    return None
