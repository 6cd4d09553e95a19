"""A run on the terminal: a table that changes in place; where the output is no terminal, plain lines."""

from __future__ import annotations

import time

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipelines.console import print_line
from pipelines.formatting import duration
from pipelines.runs.run_record import RunRecord, State, Step

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


class LiveDisplay:
    """A table that is drawn anew a few times a second; a context manager."""

    def __init__(self, console: Console) -> None:
        self._steps: dict[str, Step] = {}
        self._remark = ""
        self._closed = False
        self._started = time.time()
        self._spinner = Spinner("dots", style="yellow")
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=8)

    def __enter__(self) -> LiveDisplay:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._remark = ""
        self._closed = True
        self._live.stop()

    def show(self, record: RunRecord) -> None:
        """Keeps the steps for the next drawing."""
        self._steps = record.steps

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
        now = time.time()
        if not (self._steps or self._remark or self._closed):
            table.add_row(self._spinner, LOADING, "", duration(now - self._started))
        for name, step in self._steps.items():
            running = step.state is State.RUNNING
            mark, style = ("", "bold yellow") if running else MARKS[step.state]
            seconds = now - step.started if running and step.started else step.seconds
            table.add_row(
                self._spinner if running else Text(mark, style),
                Text(name, "bold" if running else "dim" if style == "dim" else ""),
                Text(step.state, style),
                "" if seconds is None else duration(seconds),
                Text(step.text),
            )
        if self._remark:
            table.add_row("", Text(self._remark, "yellow"))
        return table


class PlainDisplay:
    """One line for each change, and progress now and then; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, State] = {}
        self._last_line = 0.0

    def __enter__(self) -> PlainDisplay:
        self.say(LOADING)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, record: RunRecord) -> None:
        """Prints a line where a step began or ended, and progress every ten seconds."""
        for name, step in record.steps.items():
            text = None
            if step.state is not self._shown.get(name, State.WAITING):
                text = step.state if step.seconds is None else f"{step.state} in {duration(step.seconds)}"
            elif step.state is State.RUNNING and time.monotonic() - self._last_line >= PLAIN_INTERVAL:
                text = step.text
            if text:
                count = len(record.steps)
                self.say(f"[{record.position(name):{len(str(count))}}/{count}] {name}: {text}")
                self._last_line = time.monotonic()
            self._shown[name] = step.state

    def say(self, text: str) -> None:
        """Prints a remark."""
        print_line(self._console, text)


Display = LiveDisplay | PlainDisplay


def for_console(console: Console) -> Display:
    """Returns the display that suits the output."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
