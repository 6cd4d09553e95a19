"""Terminal output: printable text, plain lines, and no stderr output while TensorFlow is imported."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from serving.printable import printable_lines


class PrintableConsole(Console):
    """A console that prints all text as `printable_lines`, without interpreting markup or emoji codes.

    Args:
        options: Other options of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yields the segments of everything that is printed."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable_lines(segment.text))


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


def echo(text: str, *, err: bool = False) -> None:
    """Prints text to stdout or stderr as `printable_lines`."""
    typer.echo(printable_lines(text), err=err)


def print_line(console: Console, text: str) -> None:
    """Prints a line without colours, markup or wrapping."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
