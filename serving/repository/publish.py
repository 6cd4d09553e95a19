"""Publishes versions of a model and rolls them back, the same way in a folder and in an object store."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from serving.errors import ServingError
from serving.repository import history
from serving.repository import manifest as manifests
from serving.repository.folder import Folder
from serving.repository.history import Entry
from serving.repository.manifest import File, Manifest, identity
from serving.repository.storage import OBJECT_STORE, NumberTaken, PushConfig, Storage
from serving.repository.versions import ModelVersions


class RolledBack(Exception):
    """A model that was rolled back is not published again, but brought back by a rollback to it.

    Attributes:
        version: Its number.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version} was rolled back")
        self.version = version


def open_repository(destination: str, config: PushConfig) -> ModelRepository:
    """Returns the repository at a folder's path or a `gs://` address; it need not exist yet.

    Raises:
        UsageError: The address is none.
        ServingError: There are no credentials for the object store.
    """
    if destination.startswith(OBJECT_STORE):
        from serving.repository.object_store import ObjectStore  # takes half a second

        return ModelRepository(ObjectStore(destination, config), config.keep_versions)
    return ModelRepository(Folder(Path(destination), config), config.keep_versions)


class ModelRepository:
    """The versions of one model.

    Attributes:
        address: The folder, or the `gs://` address, without a slash at its end.

    Args:
        storage: Where they are kept.
        keep_versions: How many of the newest stay after a push.
    """

    def __init__(self, storage: Storage, keep_versions: int) -> None:
        self.address = storage.address
        self._storage = storage
        self._keep_versions = keep_versions

    def versions(self) -> ModelVersions:
        """Returns which versions there are; none where the repository does not exist yet."""
        return self._storage.versions()

    def manifest(self, number: int) -> Manifest | None:
        """Returns a version's manifest, None where it was pushed without.

        Raises:
            ValueError: It cannot be read.
        """
        try:
            text = self._storage.read(manifests.NAME, number)
        except IsADirectoryError as error:
            raise ValueError(str(error)) from error
        return None if text is None else Manifest.from_json(text)

    def files(self, number: int) -> Mapping[str, File]:
        """Returns size and checksum of a version's files, as its manifest has them or else as they are."""
        written = self.manifest(number)
        if written:
            return written.files
        sizes = self._storage.sizes(number)
        return {name: File(size, self._storage.sha256(number, name)) for name, size in sizes.items()}

    def size(self, number: int) -> int:
        """Returns a version's size in bytes."""
        return sum(self._storage.sizes(number).values())

    def damage(self, number: int) -> str | None:
        """Returns the first file of a version that is not as it was pushed, in words; None where all are.

        Of a version that was pushed without a manifest, only the graph is looked for.
        """
        try:
            written = self.manifest(number)
        except ValueError:
            return f"{manifests.NAME} cannot be read"
        sizes = self._storage.sizes(number)
        if written is None:
            return None if manifests.SAVED_MODEL in sizes else f"{manifests.SAVED_MODEL} is missing"
        for name, pushed in written.files.items():
            if name not in sizes:
                return f"{name} is missing"
            if sizes[name] != pushed.size:
                return f"{name} has {sizes[name]:,} bytes and was pushed with {pushed.size:,}"
            if self._storage.sha256(number, name) not in ("", pushed.sha256):
                return f"{name} has changed since it was pushed"
        return None

    def history(self) -> list[Entry]:
        """Returns what was done, the oldest first."""
        return history.parse((self._storage.read(history.NAME) or b"").decode(errors="replace"))

    def matching(self, versions: ModelVersions, files: Mapping[str, File]) -> ModelVersions:
        """Returns those of the versions that are the model of these files."""
        wanted = identity(files)

        def is_it(number: int) -> bool:
            try:
                return identity(self.files(number)) == wanted
            except ValueError:  # a manifest that cannot be read tells nothing
                return False

        return ModelVersions(tuple(filter(is_it, versions.live)), tuple(filter(is_it, versions.withdrawn)))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Gives an empty local folder to write a version in, and removes what is left of it afterwards."""
        with self._storage.exclusive():
            self._storage.remove_stale()
            made = self._storage.staging()
        with made as staging:
            yield staging

    def publish(self, staged: Path, described: Manifest) -> int:
        """Makes a folder of `staging` the newest version, whole or not at all.

        Args:
            staged: The version's files; they may be gone from there afterwards.
            described: What is known of it.

        Returns:
            The version's number: a new one, or that of the served version where it is the same model.

        Raises:
            RolledBack: It is a model that was rolled back.
            ServingError: Somebody else is at work for long, or the repository cannot be used.
        """
        self._storage.flush(staged)
        with self._storage.exclusive():
            while True:
                versions = self.versions()
                existing = self._instead_of_push(versions, described)
                if existing in versions.withdrawn:
                    raise RolledBack(existing)
                if existing is not None:
                    self._storage.change(lambda versions: versions)  # completes a push that was killed
                    return existing
                number = self._add(staged, described)
                _, versions = self._storage.change(functools.partial(self._pushed, number, described))
                if number in versions.withdrawn:
                    raise RolledBack(number)
                if number in versions.live:
                    break
                self._storage.remove([number])  # somebody else was faster
            earlier = [live for live in versions.live if live < number]
            before = earlier[-1] if earlier else None
            self._note(Entry("push", before, number, model=identity(described.files)))
            removed = self._storage.remove(versions.surplus(self._keep_versions))
            if removed:
                self._note(Entry("remove", versions.served, versions.served, removed=tuple(removed)))
        return number

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
        self.versions().target(wanted, self.address)  # before anything is made where nothing is
        with self._storage.exclusive():
            self._storage.remove_stale()
            target = self.versions().target(wanted, self.address)
            before, _ = self._storage.change(functools.partial(self._rolled_back, target))
            if before.served != target:
                self._note(Entry("rollback", before.served, target, reason=reason))
        return before.served, target

    def _instead_of_push(self, versions: ModelVersions, described: Manifest) -> int | None:
        """Returns the version of this model that is served, and whole, or that was rolled back; else None."""
        found = self.matching(versions, described.files)
        if versions.served is not None and versions.served in found.live:
            return None if self.damage(versions.served) else versions.served
        return found.withdrawn[-1] if found.withdrawn else None

    def _add(self, staged: Path, described: Manifest) -> int:
        """Stores a version under a number that nobody else has; returns the number."""
        number = self.versions().next_number(time.time())
        while True:
            stamped = dataclasses.replace(described, version=number, pushed_at=history.now())
            try:
                self._storage.add(number, staged, stamped.to_json())
            except NumberTaken:
                number += 1
            else:
                return number

    def _pushed(self, number: int, described: Manifest, versions: ModelVersions) -> ModelVersions:
        """Returns the versions with one that was added; without it, where others changed them meanwhile."""
        is_overtaken = versions.served is not None and versions.served > number
        if number in versions.known or is_overtaken or self._instead_of_push(versions, described) is not None:
            return versions
        return versions.with_live(number)

    def _rolled_back(self, target: int, versions: ModelVersions) -> ModelVersions:
        """Returns the versions after a rollback.

        Raises:
            UsageError: The version has gone.
            ServingError: It is damaged.
        """
        versions.target(target, self.address)
        if target != versions.served and (damage := self.damage(target)):
            raise ServingError(
                f"Version {target} in {self.address} is damaged ({damage}), and nothing was changed: "
                "name another version; catsdogs models lists them."
            )
        return versions.rolled_back(target)

    def _note(self, entry: Entry) -> None:
        self._storage.append(history.NAME, entry.line())
