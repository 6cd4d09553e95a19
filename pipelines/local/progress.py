"""Displays a run's progress: a live table on a terminal, otherwise plain lines."""

from __future__ import annotations

import time

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipelines.console import print_line
from pipelines.formatting import format_duration
from pipelines.runs.run_record import RunRecord, StepRecord, StepState

LOADING_MESSAGE = "Loading TensorFlow and TFX…"
PROGRESS_INTERVAL_SECONDS = 10.0  # between two progress lines of a PlainDisplay


STATE_MARKS = {
    StepState.WAITING: ("·", "dim"),
    StepState.DONE: ("✓", "green"),
    StepState.CACHED: ("✓", "cyan"),
    StepState.REUSED: ("✓", "cyan"),
    StepState.SKIPPED: ("-", "dim"),
    StepState.FAILED: ("✗", "bold red"),
    StepState.STOPPED: ("■", "yellow"),
}


class LiveDisplay:
    """A context manager that shows a table and refreshes it several times a second."""

    def __init__(self, console: Console) -> None:
        self._steps: dict[str, StepRecord] = {}
        self._message = ""
        self._closed = False
        self._started = time.time()
        self._spinner = Spinner("dots", style="yellow")
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=8)

    def __enter__(self) -> LiveDisplay:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._message = ""
        self._closed = True
        self._live.stop()

    def show(self, record: RunRecord) -> None:
        """Shows the record's steps from the next refresh on."""
        self._steps = record.steps

    def show_message(self, text: str) -> None:
        """Shows a message below the table."""
        self._message = text

    def _table(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
        now = time.time()
        if not (self._steps or self._message or self._closed):
            table.add_row(self._spinner, LOADING_MESSAGE, "", format_duration(now - self._started))
        for name, step in self._steps.items():
            running = step.state is StepState.RUNNING
            mark, style = ("", "bold yellow") if running else STATE_MARKS[step.state]
            seconds = now - step.started if running and step.started else step.seconds
            table.add_row(
                self._spinner if running else Text(mark, style),
                Text(name, "bold" if running else "dim" if style == "dim" else ""),
                Text(step.state, style),
                "" if seconds is None else format_duration(seconds),
                Text(step.text),
            )
        if self._message:
            table.add_row("", Text(self._message, "yellow"))
        return table


class PlainDisplay:
    """A context manager that prints a line when a step starts or ends, and progress lines in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed_states: dict[str, StepState] = {}
        self._last_line = 0.0

    def __enter__(self) -> PlainDisplay:
        self.show_message(LOADING_MESSAGE)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, record: RunRecord) -> None:
        """Prints a line for each step that has started or ended, and progress every ten seconds."""
        for name, step in record.steps.items():
            text = None
            if step.state is not self._printed_states.get(name, StepState.WAITING):
                text = (
                    step.state if step.seconds is None else f"{step.state} in {format_duration(step.seconds)}"
                )
            elif (
                step.state is StepState.RUNNING
                and time.monotonic() - self._last_line >= PROGRESS_INTERVAL_SECONDS
            ):
                text = step.text
            if text:
                count = len(record.steps)
                self.show_message(f"[{record.position(name):{len(str(count))}}/{count}] {name}: {text}")
                self._last_line = time.monotonic()
            self._printed_states[name] = step.state

    def show_message(self, text: str) -> None:
        """Prints a message."""
        print_line(self._console, text)


Display = LiveDisplay | PlainDisplay


def create_display(console: Console) -> Display:
    """Returns a live display for a terminal, otherwise a plain one."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
