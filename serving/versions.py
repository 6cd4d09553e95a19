"""Versions of a served model: the sub-folders with a number for a name, as TensorFlow Serving reads them."""

from __future__ import annotations

from pathlib import Path

HIGHEST = 2**63 - 1  # versions are int64 to TensorFlow Serving


def is_version(name: str) -> bool:
    """Whether a folder of this name is a version."""
    return name.isdecimal() and str(int(name)) == name and int(name) <= HIGHEST


def versions(model_dir: Path, prefix: str = "") -> list[int]:
    """Returns the version numbers in a served model's folder, oldest first; none where it does not exist.

    Args:
        model_dir: The folder.
        prefix: What stands before the number in the names of the sub-folders.
    """
    if not model_dir.is_dir():
        return []
    names = (entry.name.removeprefix(prefix) for entry in model_dir.glob(f"{prefix}[0-9]*") if entry.is_dir())
    return sorted(int(name) for name in names if is_version(name))


def newest(model_dir: Path) -> Path | None:
    """Returns the folder of the highest version, the one that is served, or None where there is none."""
    numbers = versions(model_dir)
    return model_dir / str(numbers[-1]) if numbers else None
