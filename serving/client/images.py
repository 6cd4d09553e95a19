"""The picture files that a user names: found, and read whole."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from serving.client.client import MAX_REQUEST_BYTES
from serving.errors import ServingError, UsageError

STANDARD_INPUT = "-"

_ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class Unreadable(ServingError):
    """A file that cannot be sent."""


def find(named: Iterable[str]) -> list[str | Unreadable]:
    """Returns the files that are meant, in the order of the names, those of a folder sorted.

    A folder means the pictures in it and below it, by their endings; hidden files, and links to other
    folders, are left out. A folder below that cannot be read stands in the list as an error.

    Args:
        named: Files, folders, or `-` for standard input.

    Raises:
        UsageError: A name leads nowhere, or to a folder without pictures.
    """
    found: list[str | Unreadable] = []
    for name in named:
        if name == STANDARD_INPUT:
            if sys.stdin.isatty():
                raise UsageError("Standard input is a terminal: send a picture into it, as in - < PICTURE.")
            found.append(name)
        elif _is_folder(name):
            inside = list(_below(name))
            if not inside:
                endings = ", ".join(sorted(_ENDINGS))
                raise UsageError(
                    f"The folder {shown(name)} has no pictures ({endings}), nor have those in it."
                )
            found += inside
        else:
            found.append(name)
    return found


def read(name: str) -> bytes:
    """Returns a file's bytes.

    Raises:
        Unreadable: It cannot be read, is empty, or is larger than a request may be.
    """
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_REQUEST_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"{shown(name)} cannot be read: {error.strerror}.") from None
    if not data:
        raise Unreadable(f"{shown(name)} is empty, and a picture is expected.")
    if len(data) > MAX_REQUEST_BYTES:
        raise Unreadable(
            f"{shown(name)} has more than {MAX_REQUEST_BYTES // 2**20} MiB, the most that is sent: "
            "make the picture smaller."
        )
    return data


def shown(name: str) -> str:
    """Returns a file's name for people: without what would not print, or would command the terminal."""
    if name == STANDARD_INPUT:
        return "standard input"
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name
    )


def _is_folder(name: str) -> bool:
    try:
        return stat.S_ISDIR(Path(name).stat().st_mode)
    except FileNotFoundError:
        raise UsageError(f"There is no file or folder {shown(name)}.") from None
    except OSError as error:
        raise UsageError(f"{shown(name)} cannot be read: {error.strerror}.") from None


def _below(folder: str) -> Iterator[str | Unreadable]:
    refused: list[OSError] = []
    for root, folders, files in os.walk(folder, onerror=refused.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in _ENDINGS:
                yield str(Path(root, name))
    for error in refused:
        yield Unreadable(f"The folder {shown(str(error.filename))} cannot be read: {error.strerror}.")
