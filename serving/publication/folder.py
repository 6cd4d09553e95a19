"""A folder of served versions: what appears, disappears or is replaced in it does so by a rename."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from serving.errors import ServingError
from serving.publication import history, manifest, models_config
from serving.publication.history import Entry
from serving.publication.leftovers import REMOVING, discard, staged_in, sweep
from serving.publication.lock import hold
from serving.publication.manifest import File, Manifest
from serving.publication.place import Terms, already_served
from serving.publication.stock import Stock
from serving.versions import versions

_WITHDRAWN = "withdrawn-"  # no number, and so nothing that TensorFlow Serving looks at
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


class FolderPlace:
    """The numbered sub-folders are what is served, and everything else is derived from them.

    So a server that is given the folder alone follows a rollback too. See `Place` for the methods.

    Args:
        folder: The model's folder; it is made by the first push.
        terms: What is said of the model beside its files.
    """

    def __init__(self, folder: Path, terms: Terms) -> None:
        self.address = str(folder)
        self._folder = folder
        self._terms = terms

    def stock(self) -> Stock:
        """See `Place`."""
        live = versions(self._folder)
        withdrawn = versions(self._folder, _WITHDRAWN)
        return Stock(tuple(live), tuple(number for number in withdrawn if number not in live))

    def manifest(self, number: int) -> Manifest | None:
        """See `Place`."""
        try:
            return Manifest.from_json((self._path(number) / manifest.NAME).read_bytes())
        except FileNotFoundError:
            return None
        except IsADirectoryError as error:
            raise ValueError(str(error)) from error

    def files(self, number: int) -> Mapping[str, File]:
        """See `Place`."""
        written = self.manifest(number)
        return written.files if written else manifest.files_in(self._path(number))

    def damage(self, number: int) -> str | None:
        """See `Place`."""
        try:
            return manifest.damage(self._path(number), self.manifest(number))
        except ValueError:
            return f"{manifest.NAME} cannot be read"

    def size(self, number: int) -> int:
        """See `Place`."""
        return sum(path.stat().st_size for path in self._path(number).rglob("*") if path.is_file())

    def history(self) -> list[Entry]:
        """See `Place`."""
        try:
            return history.parse((self._folder / history.NAME).read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """See `Place`."""
        with hold(self._folder):
            sweep(self._folder)
            made = staged_in(self._folder)
        with made as staging:
            yield staging

    def publish(self, staged: Path, described: Manifest) -> int:
        """See `Place`."""
        _sync(staged)  # or a power cut leaves a whole tree of empty files under the new name
        with hold(self._folder):
            before = self.stock()
            served = already_served(self, before, described.files)
            if served is not None:  # the pointer may be of a push that was killed
                self._settle(before)
                return served
            number = self._name(staged, described, before)
            _sync_entries(self._folder)
            after = before.with_live(number)
            self._settle(after)
            self._note(Entry("push", before.served, number, model=manifest.identity(described.files)))
            self._remove(after)
        return number

    def roll_back(self, wanted: int | None, reason: str | None = None) -> tuple[int | None, int]:
        """See `Place`."""
        self.stock().target(wanted, self.address)  # before a lock file is made where nothing is
        with hold(self._folder):
            sweep(self._folder)
            before = self.stock()
            target = before.target(wanted, self.address)
            if target == before.served:
                self._settle(before)
                return target, target
            if damage := self.damage(target):
                raise ServingError(
                    f"Version {target} in {self.address} is damaged ({damage}), and nothing was changed: "
                    "name another version; catsdogs models lists them."
                )
            going = [number for number in before.live if number > target]
            self._check_room(going)
            after = before.rolled_back(target)
            if target in before.withdrawn:
                self._path(target).rename(self._folder / str(target))
            self._settle(after)  # before the renames: no label names what is going
            for number in going:
                self._path(number).rename(self._folder / f"{_WITHDRAWN}{number}")
            _sync_entries(self._folder)
            self._note(Entry("rollback", before.served, target, reason=reason))
        return before.served, target

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

    def _name(self, staged: Path, described: Manifest, stock: Stock) -> int:
        """Gives a staged version its number and its place."""
        number = stock.next_number(time.time())
        while True:
            stamped = dataclasses.replace(described, version=number, pushed_at=history.now())
            _write(staged / manifest.NAME, stamped.to_json())
            try:
                staged.rename(self._folder / str(number))
            except OSError as error:
                if error.errno not in _TAKEN:  # else somebody who knows no lock took the number
                    raise
                number += 1
                continue
            return number

    def _settle(self, stock: Stock) -> None:
        """Writes `models.config` for a stock, all of whose live versions are there."""
        path = self._folder / models_config.NAME
        text = models_config.of_folder(stock, self._terms.model_name, self._terms.base_path)
        with contextlib.suppress(FileNotFoundError):
            if path.read_text(encoding="utf-8", errors="replace") == text:
                return
        beside = self._folder / f".{models_config.NAME}"
        _write(beside, text)
        beside.rename(path)
        _sync_entries(self._folder)

    def _remove(self, stock: Stock) -> None:
        """Removes what is above the number to keep; no version is ever seen half removed."""
        surplus = stock.surplus(self._terms.keep_versions)
        for number in surplus:
            self._path(number).rename(self._folder / f"{REMOVING}{number}-{uuid.uuid4().hex}")
        if surplus:
            self._settle(stock.without(surplus))
            self._note(Entry("remove", stock.served, stock.served, removed=tuple(surplus)))
        for folder in self._folder.glob(f"{REMOVING}*"):
            discard(folder)

    def _note(self, entry: Entry) -> None:
        path = self._folder / history.NAME
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read(1) == b"\n" else b"\n")  # after a line that a kill cut short
            file.write(entry.line().encode())
            file.flush()
            os.fsync(file.fileno())


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Has all files below a folder, and all its sub-folders, written to the disk."""
    for path in [*folder.rglob("*"), folder]:
        _sync_entries(path)


def _sync_entries(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
