"""Pushes model versions and rolls them back, in a folder or in an object store."""

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
from serving.repository.folder import FolderStorage
from serving.repository.history import HistoryEntry
from serving.repository.manifest import FileInfo, Manifest, model_identity
from serving.repository.storage import GS_SCHEME, PushConfig, Storage, VersionExists
from serving.repository.versions import ModelVersions


class RolledBack(Exception):
    """The pushed model was rolled back before; `catsdogs rollback VERSION` restores it.

    Attributes:
        version: The rolled-back version.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version} was rolled back")
        self.version = version


def open_repository(destination: str, config: PushConfig) -> ModelRepository:
    """Returns the model repository at a path or `gs://` address; it need not exist yet.

    Raises:
        UsageError: The address does not name a folder in a bucket.
        ServingError: The object store cannot be used, for example without credentials.
    """
    if destination.startswith(GS_SCHEME):
        from serving.repository.object_store import ObjectStorage  # takes half a second

        return ModelRepository(ObjectStorage(destination, config), config.keep_versions)
    return ModelRepository(FolderStorage(Path(destination), config), config.keep_versions)


@contextlib.contextmanager
def opened_repository(destination: str, config: PushConfig) -> Iterator[ModelRepository]:
    """Opens a model repository for a block; an OSError in the block becomes a ServingError.

    Raises:
        UsageError: The address does not name a folder in a bucket.
        ServingError: The repository cannot be read or written.
    """
    repository = open_repository(destination, config)
    try:
        yield repository
    except OSError as error:
        raise ServingError(
            f"{repository.address} cannot be used ({error.strerror or error}): check that it is a folder "
            "that you may read and write."
        ) from error


class ModelRepository:
    """The versions of one model.

    Attributes:
        address: The folder, or the `gs://` address, without a trailing slash.

    Args:
        storage: Where the versions are stored.
        keep_versions: How many of the newest versions stay after a push.
    """

    def __init__(self, storage: Storage, keep_versions: int) -> None:
        self.address = storage.address
        self._storage = storage
        self._keep_versions = keep_versions

    def versions(self) -> ModelVersions:
        """Returns the stored versions; empty if the repository does not exist yet."""
        return self._storage.versions()

    def manifest(self, number: int) -> Manifest | None:
        """Returns a version's manifest; None if it has none.

        Raises:
            ValueError: The manifest cannot be read.
        """
        try:
            text = self._storage.read(manifests.NAME, number)
        except IsADirectoryError as error:
            raise ValueError(str(error)) from error
        return None if text is None else Manifest.from_json(text)

    def files(self, number: int) -> Mapping[str, FileInfo]:
        """Returns size and checksum of a version's files: from its manifest, else from the files."""
        manifest = self.manifest(number)
        if manifest:
            return manifest.files
        sizes = self._storage.sizes(number)
        return {name: FileInfo(size, self._storage.sha256(number, name)) for name, size in sizes.items()}

    def size(self, number: int) -> int:
        """Returns a version's size in bytes."""
        return sum(self._storage.sizes(number).values())

    def damage(self, number: int) -> str | None:
        """Returns a description of the first damaged file of a version; None if every file is intact.

        Checks names, sizes and checksums against the manifest. Without a manifest, checks only that the graph
        exists.
        """
        try:
            manifest = self.manifest(number)
        except ValueError:
            return f"{manifests.NAME} cannot be read"
        sizes = self._storage.sizes(number)
        if manifest is None:
            return None if manifests.SAVED_MODEL in sizes else f"{manifests.SAVED_MODEL} is missing"
        for name, expected in manifest.files.items():
            if name not in sizes:
                return f"{name} is missing"
            if sizes[name] != expected.size:
                return f"{name} has {sizes[name]:,} bytes and was pushed with {expected.size:,}"
            if self._storage.sha256(number, name) not in ("", expected.sha256):
                return f"{name} has changed since it was pushed"
        return None

    def history(self) -> list[HistoryEntry]:
        """Returns the changes to the repository, oldest first."""
        text = (self._storage.read(history.NAME) or b"").decode(errors="replace")
        return history.parse(text, f"{self.address}/{history.NAME}")

    def matching(self, versions: ModelVersions, files: Mapping[str, FileInfo]) -> ModelVersions:
        """Returns the subset of `versions` that hold the same model as `files`."""
        wanted = model_identity(files)

        def is_same_model(number: int) -> bool:
            try:
                return model_identity(self.files(number)) == wanted
            except ValueError:  # the manifest cannot be read
                return False

        return ModelVersions(
            tuple(filter(is_same_model, versions.live)), tuple(filter(is_same_model, versions.rolled_back))
        )

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Creates an empty local folder to write a version in; the folder is deleted after the block."""
        with self._storage.exclusive():
            self._storage.remove_stale()
            staging = self._storage.staging()
        with staging as folder:
            yield folder

    def push(self, staged: Path, manifest: Manifest) -> int:
        """Makes a folder in `staging` the newest version. The push is atomic.

        Args:
            staged: Folder with the version's files, which may be moved rather than copied.
            manifest: The manifest, without version number and time.

        Returns:
            The number of the new version; the served version if it is the same model and not damaged.

        Raises:
            RolledBack: The model has been rolled back.
            ServingError: The lock could not be acquired in time, or the repository cannot be used.
        """
        self._storage.flush(staged)
        with self._storage.exclusive():
            while True:
                versions = self.versions()
                existing = self._existing_version(versions, manifest)
                if existing in versions.rolled_back:
                    raise RolledBack(existing)
                if existing is not None:
                    self._storage.update_versions(
                        lambda versions: versions
                    )  # completes a push that was killed
                    return existing
                number = self._add(staged, manifest)
                _, versions = self._storage.update_versions(
                    functools.partial(self._after_push, number, manifest)
                )
                if number in versions.rolled_back:
                    raise RolledBack(number)
                if number in versions.live:
                    break
                self._storage.remove([number])  # another process pushed in the meantime
            earlier = [live for live in versions.live if live < number]
            before = earlier[-1] if earlier else None
            self._record(HistoryEntry("push", before, number, model=model_identity(manifest.files)))
            removed = self._storage.remove(versions.removable(self._keep_versions))
            if removed:
                self._record(HistoryEntry("remove", versions.served, versions.served, removed=tuple(removed)))
        return number

    def roll_back(self, wanted: int | None, reason: str | None = None) -> tuple[int | None, int]:
        """Makes an earlier or rolled-back version the newest live one; deletes nothing.

        Args:
            wanted: The version; None for the one before the served version.
            reason: The reason, for the history.

        Returns:
            The version that was served before, and the one that is served now. They are equal if there was
            nothing to do.

        Raises:
            UsageError: There is no such version.
            ServingError: The version is damaged, a file with the target name exists, or another process holds
                the lock for too long.
        """
        self.versions().rollback_target(wanted, self.address)  # fails before `exclusive` creates a folder
        with self._storage.exclusive():
            self._storage.remove_stale()
            target = self.versions().rollback_target(wanted, self.address)
            before, _ = self._storage.update_versions(functools.partial(self._after_rollback, target))
            if before.served != target:
                self._record(HistoryEntry("rollback", before.served, target, reason=reason))
        return before.served, target

    def _existing_version(self, versions: ModelVersions, manifest: Manifest) -> int | None:
        """Returns the version of this model that is served and intact, or was rolled back; else None."""
        matching = self.matching(versions, manifest.files)
        if versions.served is not None and versions.served in matching.live:
            return None if self.damage(versions.served) else versions.served
        return matching.rolled_back[-1] if matching.rolled_back else None

    def _add(self, staged: Path, manifest: Manifest) -> int:
        """Stores a version under an unused number; returns the number."""
        number = self.versions().next_number(time.time())
        while True:
            numbered = dataclasses.replace(manifest, version=number, pushed_at=history.now())
            try:
                self._storage.add(number, staged, numbered.to_json())
            except VersionExists:
                number += 1
            else:
                return number

    def _after_push(self, number: int, manifest: Manifest, versions: ModelVersions) -> ModelVersions:
        """Returns the versions with `number`, or unchanged if a concurrent change makes the push obsolete."""
        is_overtaken = versions.served is not None and versions.served > number
        if number in versions.known or is_overtaken or self._existing_version(versions, manifest) is not None:
            return versions
        return versions.after_push(number)

    def _after_rollback(self, target: int, versions: ModelVersions) -> ModelVersions:
        """Returns the versions after a rollback to `target`.

        Raises:
            UsageError: The version no longer exists.
            ServingError: The version is damaged.
        """
        versions.rollback_target(target, self.address)
        if target != versions.served and (damage := self.damage(target)):
            raise ServingError(
                f"Version {target} in {self.address} is damaged ({damage}), and nothing was changed: "
                "choose another version; catsdogs models lists them."
            )
        return versions.after_rollback(target)

    def _record(self, entry: HistoryEntry) -> None:
        self._storage.append(history.NAME, entry.to_line())
