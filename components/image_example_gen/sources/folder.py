"""Pictures in a folder: `DIR/<class>/*`, or `DIR/{train,validation|test}/<class>/*`."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from components.errors import InputError
from components.image_example_gen.sources.base import (
    PARTS,
    SPLITS,
    ImageRejected,
    Picture,
    class_index,
    listed,
    own_splits,
    printable,
    shard_count,
)

_LITTER = {"thumbs.db", "desktop.ini", "__macosx"}  # as hidden as dot files, on the systems that leave them
_MAX_FILE_BYTES = 256 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _ClassFolder:
    path: Path
    label: int
    splits: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    name: str  # relative to the folder, with forward slashes
    label: int
    splits: tuple[str, ...]
    size: int  # bytes; -1 where the file cannot be looked at
    mtime_ns: int


class FolderSource:
    """A folder of class folders.

    Args:
        folder: The folder.
        class_names: The two classes; sub-folders match them in singular or plural, any case.

    Raises:
        InputError: The folder is missing, unreadable, empty, or laid out in another way.
    """

    def __init__(self, folder: str | Path, class_names: Sequence[str]) -> None:
        self._folder = Path(folder)
        self._class_names = tuple(class_names)
        self._loose: list[str] = []  # files beside the class folders
        self._class_folders = self._find_class_folders()

    def count(self) -> int:
        """See `Source`."""
        return len(self._files)

    def portions(self) -> list[tuple[_File, ...]]:
        """See `Source`."""
        if self._loose:
            _log.warning("Not read, because they lie beside the class folders: %s.", listed(self._loose))
        # By a hash of the name: mixed, and the same in every run.
        mixed = sorted(self._files, key=lambda file: hashlib.sha256(_encoded(file.name)).digest())
        shards = shard_count(sum(file.size for file in mixed))
        return [tuple(mixed[start::shards]) for start in range(min(shards, len(mixed)))]

    def read(self, portion: tuple[_File, ...]) -> Iterator[Picture]:
        """See `Source`."""
        for file in portion:
            yield Picture(
                filename=printable(file.name),
                folder=printable(str(PurePosixPath(file.name).parent)),
                label=file.label,
                splits=file.splits,
                read=partial(_read, self._folder / file.name),
            )

    def fingerprint(self) -> str:
        """See `Source`; names, sizes and times of change stand for the contents."""
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(_encoded(f"{file.name}\0{file.size}\0{file.mtime_ns}\n"))
        return digest.hexdigest()

    def check(self) -> None:
        """Raises InputError where a class has no file."""
        for label, class_name in enumerate(self._class_names):
            if not any(file.label == label for file in self._files):
                folders = listed([str(found.path) for found in self._class_folders if found.label == label])
                raise InputError(f"There is no picture of class {class_name!r} in {folders}: put some there.")

    @cached_property
    def _files(self) -> list[_File]:
        files = []
        for class_folder in self._class_folders:
            for path, status in _walk(class_folder.path, set()):
                files.append(
                    _File(
                        name=path.relative_to(self._folder).as_posix(),
                        label=class_folder.label,
                        splits=class_folder.splits,
                        size=status.st_size if status else -1,
                        mtime_ns=status.st_mtime_ns if status else -1,
                    )
                )
        return sorted(files, key=lambda file: file.name)

    def _find_class_folders(self) -> list[_ClassFolder]:
        if not self._folder.exists():
            raise InputError(
                f"The folder {self._folder} does not exist: name one with a folder of pictures per class."
            )
        if not self._folder.is_dir():
            raise InputError(
                f"{self._folder} is a file, and a folder with a folder of pictures per class is expected."
            )
        found = self._subfolders(self._folder)
        parts = [path for path in found if path.name.casefold() in PARTS]
        if not parts:
            return self._classes_in(self._folder, found, SPLITS)
        return self._classes_in_parts(parts, [path for path in found if path not in parts])

    def _classes_in_parts(self, paths: list[Path], others: list[Path]) -> list[_ClassFolder]:
        if others:
            raise InputError(
                f"The folder {self._folder} holds {listed([path.name for path in others])} beside "
                f"{listed([path.name for path in paths])}: it must hold either class folders, or train with "
                "validation or test, and nothing else."
            )
        parts: dict[str, Path] = {}
        for path in paths:
            part = PARTS[path.name.casefold()]
            if part in parts:
                raise InputError(
                    f"The folders {parts[part]} and {path} both mean {part}: remove or rename one of them."
                )
            parts[part] = path
        if "train" not in parts:
            raise InputError(
                f"The folder {self._folder} holds {listed([path.name for path in paths])} but no 'train': "
                "add it, or put the class folders directly into one folder to have them split."
            )
        splits = own_splits("validation" in parts, "test" in parts)
        return [
            class_folder
            for part, path in parts.items()
            for class_folder in self._classes_in(path, self._subfolders(path), splits[part])
        ]

    def _classes_in(self, folder: Path, found: list[Path], splits: tuple[str, ...]) -> list[_ClassFolder]:
        first, second = self._class_names
        if not found:
            raise InputError(
                f"The folder {folder} holds no folders: sort the pictures into {folder / first} and "
                f"{folder / second}."
            )
        labels = {path: class_index(path.name, self._class_names) for path in found}
        unknown = [path.name for path, label in labels.items() if label is None]
        missing = [name for index, name in enumerate(self._class_names) if index not in labels.values()]
        if unknown and not missing:
            raise InputError(
                f"The folder {folder} holds {listed(unknown)} beside the classes {first!r} and {second!r}, "
                "and three or more classes are not supported: move it elsewhere."
            )
        if unknown:
            raise InputError(
                f"The folder {folder} holds {listed([path.name for path in found])}, and folders for the "
                f"classes {first!r} and {second!r} are expected: rename them, or set data.class_names."
            )
        if missing:
            raise InputError(
                f"The folder {folder} holds one class only, {found[0].name!r}, and a folder "
                f"for {missing[0]!r} is needed too: add it, or set data.class_names."
            )
        return [_ClassFolder(path, label, splits) for path, label in labels.items() if label is not None]

    def _subfolders(self, folder: Path) -> list[Path]:
        entries = _entries(folder)
        self._loose += [entry.path for entry in entries if not entry.is_dir()]
        return [Path(entry.path) for entry in entries if entry.is_dir()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be read ({error.strerror}): give it read and search permission."
        ) from None
    return sorted(
        (entry for entry in seen if entry.name.casefold() not in _LITTER), key=lambda entry: entry.name
    )


def _walk(folder: Path, above: set[tuple[int, int]]) -> Iterator[tuple[Path, os.stat_result | None]]:
    """Yields all files below, through links, with what `stat` says (None for a dangling link)."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link to a folder it lies in
        return
    for entry in _entries(folder):
        path = Path(entry.path)
        if entry.is_dir():
            yield from _walk(path, above | {identity})
            continue
        try:
            yield path, entry.stat()
        except OSError:
            yield path, None


def _read(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageRejected("not a file")  # opening a pipe would wait for ever
    if status.st_size > _MAX_FILE_BYTES:
        raise ImageRejected(
            "file too large", f"{status.st_size:,} bytes, at most {_MAX_FILE_BYTES:,} are read"
        )
    return path.read_bytes()


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # file names need not be UTF-8
