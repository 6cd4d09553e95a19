"""Finds and reads the image files that a user names."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from serving.client.client import MAX_REQUEST_BYTES
from serving.errors import ServingError, UsageError
from serving.printable import printable

STANDARD_INPUT = "-"

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class UnreadableImage(ServingError):
    """A file that cannot be sent."""


def find_images(paths: Iterable[str]) -> list[str | UnreadableImage]:
    """Returns image files in the order of `paths`; a folder is replaced by its images, sorted.

    Searches folders recursively by file suffix. Skips hidden files and links to other folders. A sub-folder
    that cannot be read becomes an error in the list.

    Args:
        paths: Files, folders, or `-` for standard input.

    Raises:
        UsageError: A path does not exist, or a folder has no images.
    """
    images: list[str | UnreadableImage] = []
    for path in paths:
        if path == STANDARD_INPUT:
            if sys.stdin.isatty():
                raise UsageError("Standard input is a terminal: redirect an image into it, as in - < IMAGE.")
            images.append(path)
        elif _is_folder(path):
            in_folder = list(_images_below(path))
            if not in_folder:
                suffixes = ", ".join(sorted(_SUFFIXES))
                raise UsageError(
                    f"The folder {printable_name(path)} and its sub-folders have no images ({suffixes})."
                )
            images += in_folder
        else:
            images.append(path)
    return images


def read_image(path: str) -> bytes:
    """Returns a file's bytes.

    Args:
        path: A regular file, or `-` for standard input.

    Raises:
        UnreadableImage: The file cannot be read, is not regular, is empty, or is larger than
            MAX_REQUEST_BYTES.
    """
    try:
        if path == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
        else:
            with open(path, "rb", opener=_open_without_waiting) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise UnreadableImage(
                        f"{printable_name(path)} is a pipe or a device; expected a regular file: send its "
                        "data to standard input, and pass - instead of its name."
                    )
                data = file.read(MAX_REQUEST_BYTES + 1)
    except OSError as error:
        raise UnreadableImage(f"{printable_name(path)} cannot be read: {error.strerror}.") from None
    if not data:
        raise UnreadableImage(f"{printable_name(path)} is empty; expected an image.")
    if len(data) > MAX_REQUEST_BYTES:
        raise UnreadableImage(
            f"{printable_name(path)} is larger than {MAX_REQUEST_BYTES // 2**20} MiB, the limit of a "
            "request: make the image smaller."
        )
    return data


def printable_name(path: str) -> str:
    """Returns a file's printable name, in one line."""
    return "standard input" if path == STANDARD_INPUT else printable(path)


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(Path(path).stat().st_mode)
    except FileNotFoundError:
        raise UsageError(f"There is no file or folder {printable_name(path)}.") from None
    except OSError as error:
        raise UsageError(f"{printable_name(path)} cannot be read: {error.strerror}.") from None


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # otherwise a named pipe waits for a writer


def _images_below(folder: str) -> Iterator[str | UnreadableImage]:
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            yield UnreadableImage(f"The folder {printable_name(current)} cannot be read: {error.strerror}.")
            continue
        folders = []
        for entry in sorted(visible, key=lambda entry: entry.name):
            try:
                is_folder = entry.is_dir()
            except OSError:  # such as a link to itself; reading it fails with the reason
                is_folder = False
            if is_folder and not entry.is_symlink():
                folders.append(entry.path)
            elif not is_folder and Path(entry.name).suffix.lower() in _SUFFIXES:
                yield str(Path(entry.path))
        pending += reversed(folders)
