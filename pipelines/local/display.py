"""A run on the terminal: a table that changes in place; where the output is no terminal, plain lines."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipelines.local.board import Board
from pipelines.local.events import Ended, Event, Planned, Progress, Started, State
from pipelines.local.wording import duration

LOADING = "Loading TensorFlow and TFX…"
PLAIN_INTERVAL = 10.0  # seconds between two lines of progress

MARKS = {
    State.WAITING: ("·", "dim"),
    State.DONE: ("✓", "green"),
    State.CACHED: ("✓", "cyan"),
    State.REUSED: ("✓", "cyan"),
    State.SKIPPED: ("-", "dim"),
    State.FAILED: ("✗", "bold red"),
    State.STOPPED: ("■", "yellow"),
}


def say(console: Console, text: str) -> None:
    """Prints a line as it is: neither coloured nor broken to the width of the terminal."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


class Display(Protocol):
    """Shows a board while it changes; a context manager."""

    def __enter__(self) -> Display: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, event: Event) -> None:
        """Shows what an event, already applied to the board, has changed."""

    def say(self, text: str) -> None:
        """Shows a remark of the parent's own."""


def for_console(console: Console, board: Board) -> Display:
    """Returns the display that suits the output."""
    return LiveDisplay(console, board) if console.is_terminal else PlainDisplay(console, board)


class LiveDisplay:
    """A table that is drawn anew a few times a second."""

    def __init__(self, console: Console, board: Board) -> None:
        self._board = board
        self._remark = ""
        self._closed = False
        self._started = time.monotonic()
        self._spinner = Spinner("dots", style="yellow")
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=8)

    def __enter__(self) -> LiveDisplay:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._remark = ""
        self._closed = True
        self._live.stop()

    def show(self, event: Event) -> None:
        """Does nothing: the table reads the board."""

    def say(self, text: str) -> None:
        """Shows a remark below the table."""
        self._remark = text

    def _table(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
        if not (self._board.lines or self._remark or self._closed):
            elapsed = duration(time.monotonic() - self._started)
            table.add_row(self._spinner, LOADING, "", elapsed)
        for step, line in self._board.lines.items():
            running = line.state is State.RUNNING
            mark, style = ("", "bold yellow") if running else MARKS[line.state]
            table.add_row(
                self._spinner if running else Text(mark, style),
                Text(step, "bold" if running else "dim" if style == "dim" else ""),
                Text(line.state, style),
                "" if line.elapsed is None else duration(line.elapsed),
                Text(line.text),
            )
        if self._remark:
            table.add_row("", Text(self._remark, "yellow"))
        return table


class PlainDisplay:
    """One line for each change, and progress now and then."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console = console
        self._board = board
        self._last_line = 0.0

    def __enter__(self) -> PlainDisplay:
        self.say(LOADING)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """Prints a line where a step began or ended, and progress every ten seconds."""
        match event:
            case Planned(steps):
                for step, state in steps.items():
                    if state is not State.WAITING:
                        self._print(step, state)
            case Started(step):
                self._print(step, State.RUNNING)
            case Ended(step, state, seconds):
                self._print(step, f"{state} in {duration(seconds)}")
            case Progress(text) if self._board.running and self._is_due():
                self._print(self._board.running, text)

    def say(self, text: str) -> None:
        """Prints a remark."""
        say(self._console, text)

    def _is_due(self) -> bool:
        return time.monotonic() - self._last_line >= PLAIN_INTERVAL

    def _print(self, step: str, text: str) -> None:
        count = len(self._board.lines)
        self.say(f"[{self._board.position(step):{len(str(count))}}/{count}] {step}: {text}")
        self._last_line = time.monotonic()
