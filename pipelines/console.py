"""Output on the terminal: plain lines, and silence while TensorFlow is imported."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Lets nothing through to stderr, from C++ either."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def print_line(console: Console, text: str) -> None:
    """Prints a line as it is: neither coloured nor broken to the width of the terminal."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
