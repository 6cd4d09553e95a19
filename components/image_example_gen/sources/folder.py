"""Images in a folder: `DIR/<class>/*`, or `DIR/{train,validation|test}/<class>/*`."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from components.errors import InputError
from components.image_example_gen.sources.base import (
    SOURCE_SPLIT_NAMES,
    SPLITS,
    ImageRejected,
    SourceImage,
    class_index,
    format_names,
    map_source_splits,
    printable,
    shard_count,
)

_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx"}  # written by Windows and macOS
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
    size: int  # bytes; -1 if `stat` fails
    mtime_ns: int


class FolderSource:
    """A folder with one sub-folder per class, or with split folders that contain class folders.

    Links are followed, also out of the folder. A file that several links lead to counts once in each split.

    Args:
        folder: Path of the folder.
        class_names: The two classes; folder names match them in singular or plural, any case.

    Raises:
        InputError: The folder is missing, unreadable or empty, has another layout, or contains a link that
            gives a file both classes.
    """

    def __init__(self, folder: str | Path, class_names: Sequence[str]) -> None:
        self._folder = Path(folder)
        self._real_folder = Path(os.path.realpath(folder))
        self._class_names = tuple(class_names)
        self._ignored_files: list[str] = []  # files next to the class folders
        self._outside_links: list[str] = []  # links that lead out of the folder
        self._class_folders = self._find_class_folders()

    def count(self) -> int:
        """See `Source`."""
        return len(self._files)

    def portions(self) -> list[tuple[_File, ...]]:
        """See `Source`."""
        if self._ignored_files:
            _log.warning(
                "Files outside the class folders are not read: %s.", format_names(self._ignored_files)
            )
        # Ordered by a hash of the name: shuffled, but the same in every run.
        shuffled = sorted(self._files, key=lambda file: hashlib.sha256(_encode_name(file.name)).digest())
        shards = shard_count(sum(file.size for file in shuffled))
        return [tuple(shuffled[start::shards]) for start in range(min(shards, len(shuffled)))]

    def read(self, portion: tuple[_File, ...]) -> Iterator[SourceImage]:
        """See `Source`."""
        for file in portion:
            yield SourceImage(
                filename=printable(file.name),
                folder=printable(str(PurePosixPath(file.name).parent)),
                label=file.label,
                splits=file.splits,
                read=partial(_read, self._folder / file.name),
            )

    def fingerprint(self) -> str:
        """See `Source`; computed from the files' names, sizes and modification times."""
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(_encode_name(f"{file.name}\0{file.size}\0{file.mtime_ns}\n"))
        return digest.hexdigest()

    def outside_links(self) -> list[str]:
        """See `Source`."""
        self.count()  # follows the links
        return self._outside_links

    def check(self) -> None:
        """Raises InputError if a class has no file."""
        for label, class_name in enumerate(self._class_names):
            if not any(file.label == label for file in self._files):
                folders = format_names(
                    [
                        str(class_folder.path)
                        for class_folder in self._class_folders
                        if class_folder.label == label
                    ]
                )
                raise InputError(f"There is no image of class {class_name!r} in {folders}: add some.")

    @cached_property
    def _files(self) -> list[_File]:
        files = []
        found: dict[Path, tuple[int, Path]] = {}  # real path → label, and the first path to it
        visited: set[tuple[Path, tuple[str, ...]]] = set()
        # Links come last, so that a file that is itself in the folder keeps its own name.
        pending = deque(
            (each.path, Path(os.path.realpath(each.path)), each)
            for each in sorted(self._class_folders, key=lambda each: each.path.is_symlink())
        )
        while pending:
            path, real_path, class_folder = pending.popleft()
            try:
                status = path.stat()
            except OSError:  # such as a dangling link; reading it fails with the reason
                status, real_path = None, path
            label, splits = class_folder.label, class_folder.splits
            first_label, first_path = found.setdefault(real_path, (label, path))
            if first_label != label:
                first_class, second_class = self._class_names[first_label], self._class_names[label]
                raise InputError(
                    f"{format_names([str(first_path), str(path)])} are the same file or folder, but their "
                    f"classes are {first_class!r} and {second_class!r}: remove one of the links."
                )
            if (real_path, splits) in visited:
                continue
            visited.add((real_path, splits))
            if status is None or not stat.S_ISDIR(status.st_mode):
                name = path.relative_to(self._folder).as_posix()
                size, mtime_ns = (status.st_size, status.st_mtime_ns) if status else (-1, -1)
                files.append(_File(name, label, splits, size, mtime_ns))
                continue
            for entry in _entries(path):
                entry_path = Path(entry.path)
                if entry.is_symlink():
                    pending.append((entry_path, self._resolve_link(entry_path), class_folder))
                else:
                    pending.appendleft((entry_path, real_path / entry.name, class_folder))
        return sorted(files, key=lambda file: file.name)

    def _resolve_link(self, link: Path) -> Path:
        """Returns the real path that a link leads to; records a link that leads out of the folder."""
        real_path = Path(os.path.realpath(link))  # Path.resolve raises RuntimeError for a link to itself
        if not real_path.is_relative_to(self._real_folder):
            self._outside_links.append(str(link))
        return real_path

    def _find_class_folders(self) -> list[_ClassFolder]:
        try:
            status = self._folder.stat()
        except FileNotFoundError:
            raise InputError(
                f"The folder {self._folder} does not exist: choose a folder with one subfolder per class."
            ) from None
        except OSError as error:
            raise _unreadable_folder(self._folder, error) from None
        if not stat.S_ISDIR(status.st_mode):
            raise InputError(f"{self._folder} is a file: choose a folder with one subfolder per class.")
        folders = self._subfolders(self._folder)
        split_folders = [path for path in folders if path.name.casefold() in SOURCE_SPLIT_NAMES]
        if not split_folders:
            return self._match_classes(self._folder, folders, SPLITS)
        return self._match_splits(split_folders, [path for path in folders if path not in split_folders])

    def _match_splits(self, paths: list[Path], other_folders: list[Path]) -> list[_ClassFolder]:
        if other_folders:
            raise InputError(
                f"The folder {self._folder} contains {format_names([path.name for path in other_folders])} "
                f"besides {format_names([path.name for path in paths])}: it must contain class folders "
                "or train with validation or test, and nothing else."
            )
        splits_found: dict[str, Path] = {}
        for path in paths:
            split = SOURCE_SPLIT_NAMES[path.name.casefold()]
            if split in splits_found:
                raise InputError(
                    f"The folders {splits_found[split]} and {path} are both the split {split!r}: remove or "
                    "rename one of them."
                )
            splits_found[split] = path
        if "train" not in splits_found:
            raise InputError(
                f"The folder {self._folder} contains {format_names([path.name for path in paths])} but no "
                "'train': add it, or put the class folders directly into one folder, and the pipeline splits "
                "the images."
            )
        splits = map_source_splits("validation" in splits_found, "test" in splits_found)
        return [
            class_folder
            for split, path in splits_found.items()
            for class_folder in self._match_classes(path, self._subfolders(path), splits[split])
        ]

    def _match_classes(
        self, folder: Path, subfolders: list[Path], splits: tuple[str, ...]
    ) -> list[_ClassFolder]:
        first, second = self._class_names
        if not subfolders:
            raise InputError(
                f"The folder {folder} has no sub-folders: put the images into {folder / first} and "
                f"{folder / second}."
            )
        labels = {path: class_index(path.name, self._class_names) for path in subfolders}
        unknown = [path.name for path, label in labels.items() if label is None]
        missing = [name for index, name in enumerate(self._class_names) if index not in labels.values()]
        if unknown and not missing:
            raise InputError(
                f"The folder {folder} contains {format_names(unknown)} besides the classes {first!r} and "
                f"{second!r}, but three or more classes are not supported: move it elsewhere."
            )
        if unknown:
            raise InputError(
                f"The folder {folder} contains {format_names([path.name for path in subfolders])} instead of "
                f"folders for the classes {first!r} and {second!r}: rename them, or set data.class_names."
            )
        if missing:
            raise InputError(
                f"The folder {folder} contains only one class, {subfolders[0].name!r}, but a folder "
                f"for {missing[0]!r} is required too: add it, or set data.class_names."
            )
        return [_ClassFolder(path, label, splits) for path, label in labels.items() if label is not None]

    def _subfolders(self, folder: Path) -> list[Path]:
        subfolders = []
        for entry in _entries(folder):
            path = Path(entry.path)
            try:
                is_folder = path.is_dir()
            except OSError as error:
                raise _unreadable_folder(path, error) from None
            if not is_folder:
                self._ignored_files.append(entry.path)
                continue
            if entry.is_symlink():
                self._resolve_link(path)
            subfolders.append(path)
        return subfolders


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise _unreadable_folder(folder, error) from None
    return sorted(
        (entry for entry in visible if entry.name.casefold() not in _SYSTEM_FILES),
        key=lambda entry: entry.name,
    )


def _unreadable_folder(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"The folder {folder} cannot be read ({error.strerror}): correct its path or its permissions."
    )


def _read(path: Path) -> bytes:
    with open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ImageRejected("not a file")
        if status.st_size > _MAX_FILE_BYTES:
            raise ImageRejected(
                "file too large", f"{status.st_size:,} bytes, the limit is {_MAX_FILE_BYTES:,}"
            )
        return file.read()


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # otherwise a named pipe waits for a writer


def _encode_name(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # file names need not be UTF-8
