"""Waits for a run on Kubeflow and shows its steps: a table that changes in place, or plain lines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.kubeflow.connection import Client, LoginRefused, ServerRefused, Unreachable
from pipelines.kubeflow.logs import end_of_log
from pipelines.kubeflow.steps import ENDED, Step, error_of, steps_of
from pipelines.local.display import MARKS, say
from pipelines.local.run_record import State
from pipelines.local.wording import duration

INTERRUPTED = 130

_INTERVAL = 5.0  # seconds between two questions
_PATIENCE = 900.0  # seconds without an answer until waiting ends
_MARKS = MARKS | {State.RUNNING: ("▸", "bold yellow")}


def wait(client: Client, run_id: str, names: Sequence[str], namespace: str, console: Console) -> int:
    """Shows a run until it ends.

    Args:
        client: The connection.
        run_id: The run.
        names: Its steps, in their order.
        namespace: Where its pods are.
        console: Where to show them.

    Returns:
        The exit status: 0 succeeded, 1 not, 130 interrupted, which leaves the run alone.

    Raises:
        PipelineError: The server does not answer any more, or does not let us in any more; the run goes on.
    """
    link = client.link(f"runs/details/{run_id}")
    try:
        with _display(console, names) as display:
            run, steps = _follow(client, run_id, names, display)
    except KeyboardInterrupt:
        say(
            console, f"Not watching any more; the run goes on in the cluster. To stop it: Terminate on {link}"
        )
        return INTERRUPTED
    seconds = (run.finished_at - run.created_at).total_seconds() if run.finished_at and run.created_at else 0
    took = f" after {duration(seconds)}" if seconds > 0 else ""
    if run.state == "SUCCEEDED":
        say(console, f"The run succeeded{took}.")
        return 0
    failed = [step for step in steps if step.state is State.FAILED]
    for step in failed:
        say(console, f"The step {step.name} failed{f': {step.error}' if step.error else ''}")
        for line in end_of_log(client, run, step.name):
            say(console, f"    {line}")
    error = error_of(run)
    say(console, f"The run ended as {run.state.lower()}{took}{f': {error}' if error else ''}.")
    if failed:
        say(
            console,
            f"All of its log: {link}, or: kubectl logs --namespace {namespace} --selector "
            f"pipeline/runid={run_id} --container main --prefix --tail 30",
        )
    return 1


def _follow(client: Client, run_id: str, names: Sequence[str], display: _Display) -> tuple[Any, list[Step]]:
    answered = time.monotonic()
    while True:
        try:
            run = client.get_run(run_id)
        except LoginRefused as error:
            raise LoginRefused(f"{error} The run goes on in the cluster as {run_id}.") from None
        except (Unreachable, ServerRefused) as error:
            if isinstance(error, ServerRefused) and error.status < 500:
                raise
            if time.monotonic() - answered > _PATIENCE:
                raise Unreachable(f"{error} The run goes on in the cluster as {run_id}.") from None
            display.remark(f"No answer just now, trying again: {error}")
        else:
            answered = time.monotonic()
            steps = steps_of(run, names)
            display.remark("")
            display.show(steps)
            if run.state in ENDED:
                return run, steps
        time.sleep(_INTERVAL)


class _Display(Protocol):
    def __enter__(self) -> _Display: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, steps: Sequence[Step]) -> None: ...

    def remark(self, text: str) -> None: ...


def _display(console: Console, names: Sequence[str]) -> _Display:
    return _Live(console, names) if console.is_terminal else _Plain(console, names)


class _Live:
    """A table that is drawn anew every second."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._steps = [Step(name, State.WAITING) for name in names]
        self._remark = ""
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=1)

    def __enter__(self) -> _Live:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._remark = ""
        self._live.stop()

    def show(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)

    def remark(self, text: str) -> None:
        self._remark = text

    def _table(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        now = datetime.now(UTC)
        for step in self._steps:
            mark, style = _MARKS[step.state]
            elapsed = step.elapsed(now)
            table.add_row(
                Text(mark, style),
                Text(step.name),
                Text(step.state, style),
                duration(elapsed) if elapsed else "",
            )
        if self._remark:
            table.add_row("", Text(self._remark, "yellow"))
        return table


class _Plain:
    """One line for each change."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._console = console
        self._states = dict.fromkeys(names, State.WAITING)
        self._remark = ""

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, steps: Sequence[Step]) -> None:
        for number, step in enumerate(steps, 1):
            if step.state is not self._states[step.name]:
                self._states[step.name] = step.state
                took = f" in {duration(step.seconds)}" if step.seconds is not None else ""
                say(self._console, f"[{number}/{len(steps)}] {step.name}: {step.state}{took}")

    def remark(self, text: str) -> None:
        if text and not self._remark:
            say(self._console, text)
        self._remark = text
