"""A model repository in a folder: what appears, disappears or is replaced there does so by a rename.

The numbered sub-folders are what is served, and everything else is derived from them. So a server that is
given the folder alone follows a rollback too.
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
from serving.repository.storage import NumberTaken, PushConfig
from serving.repository.versions import ModelVersions, versions

# TensorFlow Serving ignores folders whose name is not a number.
_WITHDRAWN = "withdrawn-"
_STAGING = ".pushing-"
_REMOVING = ".removing-"
_OWNER = ".owner"
_LOCK = ".lock"
_PATIENCE = 60.0  # seconds; the copying is done before, what is done under the lock takes moments
_OLD = 24 * 3600  # seconds; no push takes that long
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


class Folder:
    """See `Storage` for the methods.

    Args:
        folder: The model's folder; it is made by the first push.
        config: Name and base path of the model.
    """

    def __init__(self, folder: Path, config: PushConfig) -> None:
        self.address = str(folder)
        self._folder = folder
        self._config = config

    def versions(self) -> ModelVersions:
        """See `Storage`."""
        live = versions(self._folder)
        withdrawn = versions(self._folder, _WITHDRAWN)
        return ModelVersions(tuple(live), tuple(number for number in withdrawn if number not in live))

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
                file.write(b"" if file.read(1) == b"\n" else b"\n")  # after a line that a kill cut short
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """See `Storage`; the kernel releases the lock when its holder is gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            deadline = time.monotonic() + _PATIENCE
            while not _lock(descriptor):
                if time.monotonic() > deadline:
                    raise ServingError(
                        f"Another push or rollback has been at work in {self._folder} for {_PATIENCE:.0f} s: "
                        "wait until it has ended, or stop it, and repeat."
                    )
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def staging(self) -> AbstractContextManager[Path]:
        """See `Storage`; the folder is beside the versions, and locked for as long as this process lives."""
        staging = self._folder / f"{_STAGING}{uuid.uuid4().hex}"
        staging.mkdir()
        owner = os.open(staging / _OWNER, os.O_RDWR | os.O_CREAT, 0o666)
        _lock(owner)
        os.write(owner, platform.node().encode())
        return _until_done(staging, owner)

    def flush(self, staged: Path) -> None:
        """See `Storage`; or a power cut leaves a whole tree of empty files under the new name."""
        for path in [*staged.rglob("*"), staged]:
            _sync(path)

    def add(self, number: int, staged: Path, manifest_text: str) -> None:
        """See `Storage`; the version is live at once."""
        _write(staged / manifest.NAME, manifest_text)
        try:
            staged.rename(self._folder / str(number))
        except OSError as error:  # somebody who knows no lock took the number
            if error.errno not in _TAKEN:
                raise
            raise NumberTaken(number) from error
        _sync(self._folder)

    def change(
        self, transition: Callable[[ModelVersions], ModelVersions]
    ) -> tuple[ModelVersions, ModelVersions]:
        """See `Storage`; what is served changes once, by the last of the renames."""
        before = self.versions()
        after = transition(before)
        going = [number for number in before.live if number not in after.live]
        self._check_room(going)
        for number in after.live:
            if number not in before.live:
                self._path(number).rename(self._folder / str(number))
        self._write_models_config(after)  # before the other renames: no label names what is going
        for number in going:
            self._path(number).rename(self._folder / f"{_WITHDRAWN}{number}")
        _sync(self._folder)
        return before, after

    def remove(self, numbers: list[int]) -> list[int]:
        """See `Storage`; no version is ever seen half removed."""
        for number in numbers:
            self._path(number).rename(self._folder / f"{_REMOVING}{number}-{uuid.uuid4().hex}")
        if numbers:
            self._write_models_config(self.versions())
        self._remove_removed()
        return numbers

    def remove_stale(self) -> None:
        """See `Storage`; whether the process that began it lives is known for this machine alone."""
        self._remove_removed()
        for left in self._folder.glob(f"{_STAGING}*"):
            with contextlib.suppress(FileNotFoundError):  # its owner has finished
                if left.stat().st_mtime < time.time() - _OLD or _is_abandoned(left):
                    _delete(left)

    def _path(self, number: int) -> Path:
        path = self._folder / str(number)
        return path if path.is_dir() else self._folder / f"{_WITHDRAWN}{number}"

    def _check_room(self, going: list[int]) -> None:
        """Refuses to withdraw versions whose new names are taken, by a copy that somebody has put there."""
        for number in going:
            taken = self._folder / f"{_WITHDRAWN}{number}"
            if os.path.lexists(taken):
                raise ServingError(
                    f"Version {number} cannot be withdrawn, as {taken} is there too, and nothing was "
                    "changed: move one of the two elsewhere."
                )

    def _write_models_config(self, after: ModelVersions) -> None:
        path = self._folder / models_config.NAME
        text = models_config.of_folder(after, self._config)
        if self.read(models_config.NAME) == text.encode():
            return
        beside = self._folder / f".{models_config.NAME}"
        _write(beside, text)
        beside.rename(path)
        _sync(self._folder)

    def _remove_removed(self) -> None:
        for left in self._folder.glob(f"{_REMOVING}*"):
            _delete(left)


@contextlib.contextmanager
def _until_done(staging: Path, owner: int) -> Iterator[Path]:
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
    except OSError:  # there is none, or it is another user's: nothing is known
        return False
    try:
        return os.read(owner, 256) in (b"", platform.node().encode()) and _lock(owner)
    finally:
        os.close(owner)


def _delete(folder: Path) -> None:
    """Deletes a folder as far as that is allowed; of a link to one, the link."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _lock(descriptor: int) -> bool:
    """Locks an open file, if nobody else has; returns whether it did."""
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
