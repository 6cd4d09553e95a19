"""Finds what a test has started, directly or not, by a mark in its environment."""

from __future__ import annotations

from pathlib import Path

_NAME = "CATSDOGS_TEST"


def mark(folder: Path) -> dict[str, str]:
    """Returns a variable for the environment that tells the processes of one test: its folder is its own."""
    return {_NAME: str(folder)}


def marked(folder: Path) -> list[str]:
    """Returns the command lines of all live processes that have the mark, their children's included."""
    wanted = f"{_NAME}={folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # another user's, or gone
            continue
    return found
