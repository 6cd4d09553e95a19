"""Fingerprints of code and files; they are part of cache keys, so that a change invalidates the cache."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

_SUFFIXES = {".py", ".pbtxt"}


def of_code(*names: str) -> str:
    """Returns a fingerprint of source files without importing them.

    Args:
        *names: Dotted names of modules or packages; a package includes all its modules.

    Returns:
        The hexadecimal SHA-256 over names and contents of the `.py` and `.pbtxt` files.

    Raises:
        ModuleNotFoundError: A module does not exist.
    """
    digest = hashlib.sha256()
    for name in sorted(set(names)):
        for relative, path in _source_files(name):
            contents = path.read_bytes()
            digest.update(f"{name}\0{relative}\0{len(contents)}\0".encode())
            digest.update(contents)
    return digest.hexdigest()


def of_file(path: Path) -> str:
    """Returns the hexadecimal SHA-256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_folder(folder: Path) -> str:
    """Returns the hexadecimal SHA-256 over names and contents of all files below a folder but hidden ones.

    Desktop programs leave hidden files, such as .DS_Store, where a user looks at a folder.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("[!.]*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{of_file(path)}\n".encode())
    return digest.hexdigest()


def _source_files(name: str) -> list[tuple[str, Path]]:
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"Module {name!r} does not exist and has no fingerprint.", name=name)
    if spec.submodule_search_locations is None:
        assert spec.origin is not None
        return [("", Path(spec.origin))]
    return sorted(
        (path.relative_to(folder).as_posix(), path)
        for folder in spec.submodule_search_locations
        for path in Path(folder).rglob("*")
        if path.suffix in _SUFFIXES
    )
