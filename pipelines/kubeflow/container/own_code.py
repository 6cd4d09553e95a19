"""Which of our own code a step runs: the modules it names and all that these import."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]  # of the checkout, or of the installed packages
_OURS = ("components", "pipelines", "serving", "trainer")


def fingerprint_behind(names: Iterable[str]) -> str:
    """Returns a fingerprint of our modules and of those of ours that they import, however deep.

    Args:
        names: Dotted names of modules, or of things in them; those of others do not count.

    Returns:
        The hexadecimal SHA-256 over names and contents of the files.
    """
    digest = hashlib.sha256()
    for path in sorted(_reached(names)):
        contents = path.read_bytes()
        digest.update(f"{path.relative_to(_ROOT).as_posix()}\0{len(contents)}\0".encode() + contents)
    return digest.hexdigest()


def _reached(names: Iterable[str]) -> set[Path]:
    found: set[Path] = set()
    waiting = list(names)
    while waiting:
        for path in _files(waiting.pop()):
            if path not in found:
                found.add(path)
                waiting += _imports(path)
    return found


def _files(name: str) -> Iterator[Path]:
    """Yields the file of a module and those of the packages it is in; nothing for a name of others."""
    parts = name.split(".")
    if parts[0] not in _OURS:
        return
    for end in range(1, len(parts) + 1):
        base = _ROOT.joinpath(*parts[:end])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                yield path


@cache
def _imports(path: Path) -> tuple[str, ...]:
    found = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(found)
