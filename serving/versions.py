"""Versions of a served model: the sub-folders with a number for a name, as TensorFlow Serving reads them."""

from __future__ import annotations

from pathlib import Path


def versions(model_dir: Path) -> list[int]:
    """Returns the version numbers in a served model's folder, oldest first; none where it does not exist."""
    if not model_dir.is_dir():
        return []
    return sorted(
        int(entry.name) for entry in model_dir.iterdir() if entry.name.isdecimal() and entry.is_dir()
    )


def newest(model_dir: Path) -> Path | None:
    """Returns the folder of the highest version, the one that is served, or None where there is none."""
    numbers = versions(model_dir)
    return model_dir / str(numbers[-1]) if numbers else None
