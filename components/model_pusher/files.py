"""What the push and the look before it ask of folders."""

from __future__ import annotations

import filecmp
from pathlib import Path

from tfx.proto import pusher_pb2
from tfx.utils import proto_utils


def served_folder(push_destination: str) -> Path:
    """Returns the folder that holds the versions.

    Args:
        push_destination: The Pusher's property, a PushDestination as JSON.
    """
    destination = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(push_destination, destination)
    return Path(destination.filesystem.base_directory)


def same_files(first: str | Path, second: str | Path) -> bool:
    """Whether two folders hold the same files with the same contents."""
    names = _files(Path(first))
    if names != _files(Path(second)):
        return False
    _, different, unreadable = filecmp.cmpfiles(first, second, names, shallow=False)
    return not different and not unreadable


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
