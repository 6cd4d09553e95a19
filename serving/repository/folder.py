"""Stores a model repository in a folder, where every change is a rename.

The numbered sub-folders define what is served; `models.config` is derived from them. A server that watches
the folder without `models.config` therefore follows rollbacks too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from serving.errors import ServingError
from serving.repository import manifest, models_config
from serving.repository.storage import PushConfig, VersionExists
from serving.repository.versions import ModelVersions, list_versions

# TensorFlow Serving ignores folders whose name is not a number.
_ROLLED_BACK = "withdrawn-"
_STAGING = ".pushing-"
_REMOVING = ".removing-"
_OWNER = ".owner"
_LOCK = ".lock"
_LOCK_TIMEOUT = 60.0  # seconds; files are copied before locking, so the lock is held briefly
_STALE_AFTER = 24 * 3600  # seconds; no push takes that long
_EXISTS_ERRORS = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


class FolderStorage:
    """Implements `Storage` on a local or mounted file system.

    Args:
        folder: The model's folder; the first push creates it.
        config: Name and base path of the model.
    """

    def __init__(self, folder: Path, config: PushConfig) -> None:
        self.address = str(folder)
        self._folder = folder
        self._config = config

    def versions(self) -> ModelVersions:
        """See `Storage`."""
        live = list_versions(self._folder)
        rolled_back = list_versions(self._folder, _ROLLED_BACK)
        return ModelVersions(tuple(live), tuple(number for number in rolled_back if number not in live))

    def read(self, name: str, number: int | None = None) -> bytes | None:
        """See `Storage`."""
        try:
            return ((self._folder if number is None else self._path(number)) / name).read_bytes()
        except FileNotFoundError:
            return None

    def sizes(self, number: int) -> dict[str, int]:
        """See `Storage`."""
        folder = self._path(number)
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}

    def sha256(self, number: int, name: str) -> str:
        """See `Storage`."""
        return manifest.sha256(self._path(number) / name)

    def append(self, name: str, line: str) -> None:
        """See `Storage`."""
        with (self._folder / name).open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read(1) == b"\n" else b"\n")  # after an incomplete line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """See `Storage`; the kernel releases the lock when its process ends."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            deadline = time.monotonic() + _LOCK_TIMEOUT
            while not _lock(descriptor):
                if time.monotonic() > deadline:
                    raise ServingError(
                        f"Another push or rollback has locked {self._folder} for {_LOCK_TIMEOUT:.0f} s: "
                        "wait until it has finished, or stop it, and repeat the command."
                    )
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def staging(self) -> AbstractContextManager[Path]:
        """See `Storage`; the folder is next to the versions and is locked while this process lives."""
        staging = self._folder / f"{_STAGING}{uuid.uuid4().hex}"
        staging.mkdir()
        owner = os.open(staging / _OWNER, os.O_RDWR | os.O_CREAT, 0o666)
        _lock(owner)
        os.write(owner, platform.node().encode())
        return _removed_afterwards(staging, owner)

    def flush(self, staged: Path) -> None:
        """See `Storage`; without it, a power failure could leave empty files under the new name."""
        for path in [*staged.rglob("*"), staged]:
            _sync(path)

    def add(self, number: int, staged: Path, manifest_text: str) -> None:
        """See `Storage`; the version is live immediately."""
        _write(staged / manifest.NAME, manifest_text)
        try:
            staged.rename(self._folder / str(number))
        except OSError as error:  # created by a program that ignores the lock
            if error.errno not in _EXISTS_ERRORS:
                raise
            raise VersionExists(number) from error
        _sync(self._folder)

    def update_versions(
        self, transition: Callable[[ModelVersions], ModelVersions]
    ) -> tuple[ModelVersions, ModelVersions]:
        """See `Storage`; the last rename switches the served version."""
        before = self.versions()
        after = transition(before)
        newly_rolled_back = [number for number in before.live if number not in after.live]
        self._check_names_are_free(newly_rolled_back)
        for number in after.live:
            if number not in before.live:
                self._path(number).rename(self._folder / str(number))
        self._write_models_config(after)  # first, so that no label names a version that disappears
        for number in newly_rolled_back:
            self._path(number).rename(self._folder / f"{_ROLLED_BACK}{number}")
        _sync(self._folder)
        return before, after

    def remove(self, numbers: list[int]) -> list[int]:
        """See `Storage`; renames each version before deleting it, so that servers see whole versions."""
        for number in numbers:
            self._path(number).rename(self._folder / f"{_REMOVING}{number}-{uuid.uuid4().hex}")
        if numbers:
            self._write_models_config(self.versions())
        self._delete_removed()
        return numbers

    def remove_stale(self) -> None:
        """See `Storage`; only processes of this machine are known to have ended."""
        self._delete_removed()
        for staging in self._folder.glob(f"{_STAGING}*"):
            with contextlib.suppress(FileNotFoundError):  # its owner has finished
                if staging.stat().st_mtime < time.time() - _STALE_AFTER or _is_abandoned(staging):
                    _delete(staging)

    def _path(self, number: int) -> Path:
        path = self._folder / str(number)
        return path if path.is_dir() else self._folder / f"{_ROLLED_BACK}{number}"

    def _check_names_are_free(self, numbers: list[int]) -> None:
        """Raises ServingError if a folder exists that has the new name of a version to roll back."""
        for number in numbers:
            existing = self._folder / f"{_ROLLED_BACK}{number}"
            if os.path.lexists(existing):
                raise ServingError(
                    f"Version {number} cannot be rolled back because {existing} already exists, and nothing "
                    "was changed: move one of the two elsewhere."
                )

    def _write_models_config(self, after: ModelVersions) -> None:
        path = self._folder / models_config.NAME
        text = models_config.folder_config(after, self._config)
        if self.read(models_config.NAME) == text.encode():
            return
        temporary_path = self._folder / f".{models_config.NAME}"
        _write(temporary_path, text)
        temporary_path.rename(path)
        _sync(self._folder)

    def _delete_removed(self) -> None:
        for removed in self._folder.glob(f"{_REMOVING}*"):
            _delete(removed)


@contextlib.contextmanager
def _removed_afterwards(staging: Path, owner: int) -> Iterator[Path]:
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(owner)


def _is_abandoned(staging: Path) -> bool:
    if not any(staging.iterdir()):
        return True
    try:
        owner = os.open(staging / _OWNER, os.O_RDWR)
    except OSError:  # it does not exist or belongs to another user: unknown
        return False
    try:
        return os.read(owner, 256) in (b"", platform.node().encode()) and _lock(owner)
    finally:
        os.close(owner)


def _delete(folder: Path) -> None:
    """Deletes a folder as far as permissions allow; deletes only the link if it is a symbolic link."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _lock(descriptor: int) -> bool:
    """Locks an open file without waiting; returns False if another process holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
