"""Terminal output: plain lines, and no stderr output while TensorFlow is imported."""

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
    """Discards all output to stderr, including that of C++ libraries."""
    sys.stderr.flush()
    original_stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as devnull:
            os.dup2(devnull.fileno(), 2)
        yield
    finally:
        os.dup2(original_stderr, 2)
        os.close(original_stderr)


def print_line(console: Console, text: str) -> None:
    """Prints a line unchanged: without colours, markup or wrapping."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
