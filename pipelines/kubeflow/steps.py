"""Where the steps of a run on Kubeflow stand, as far as the server tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.local.run_record import State

ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})  # states of a run that do not change again

_STATES = {
    "PENDING": State.WAITING,
    "RUNNING": State.RUNNING,
    "SUCCEEDED": State.DONE,
    "SKIPPED": State.SKIPPED,
    "FAILED": State.FAILED,
    "CANCELING": State.RUNNING,
    "CANCELED": State.STOPPED,
    "PAUSED": State.WAITING,
}
_NO_POD = 2.0  # seconds; no pod starts, works and ends within them


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        name: Its name.
        state: Where it stands.
        started: When it began.
        seconds: How long it took; None where it has not ended, or where nothing executed.
        error: What the server says of its failure.
    """

    name: str
    state: State
    started: datetime | None = None
    seconds: float | None = None
    error: str = ""

    def elapsed(self, now: datetime) -> float | None:
        """Seconds so far, or in all; None where it has not begun."""
        if self.state is State.RUNNING and self.started:
            return max(0.0, (now - self.started).total_seconds())
        return self.seconds


def steps_of(run: Any, names: Sequence[str]) -> list[Step]:
    """Returns the steps of a run.

    A step is two nodes of the workflow: its driver, `<name>-driver`, looks for an earlier result, and
    `<name>` wraps what executes. Where the driver has found one, the node inside, `executor`, is skipped, and
    the step has succeeded at once. The server does not tell which `executor` is whose: their times do.

    Args:
        run: A V2beta1Run.
        names: The steps in the order that is wanted.
    """
    nodes = list(run.run_details.task_details or ()) if run.run_details else []
    by_name = {node.display_name: node for node in nodes}
    skipped = [
        _time(node.start_time) for node in nodes if node.display_name == "executor" and _is_skipped(node)
    ]
    over = run.state in ENDED
    return [_step(name, by_name.get(name), by_name.get(f"{name}-driver"), skipped, over) for name in names]


def error_of(thing: Any) -> str:
    """Returns the error of a run or of a node, in one line; empty where there is none."""
    errors = [thing.error, *(status.error for status in reversed(thing.state_history or ()))]
    return next((" ".join(error.message.split()) for error in errors if error and error.message), "")


def _step(name: str, node: Any, driver: Any, skipped: Sequence[datetime | None], over: bool) -> Step:
    state: State = State.WAITING
    if node is not None:
        state = _STATES.get(node.state or "", State.WAITING)
    elif driver is not None:
        node, state = driver, _STATES.get(driver.state or "", State.WAITING)
        if state is State.DONE:  # its own node is about to come
            state = State.RUNNING
    if over and state is State.RUNNING:
        state = State.STOPPED
    if over and state is State.WAITING:
        state = State.SKIPPED
    started, ended = (_time(node.start_time), _time(node.end_time)) if node else (None, None)
    seconds = None
    if started and ended and ended >= started and state in {State.DONE, State.FAILED}:
        seconds = (ended - started).total_seconds()
    if state is State.DONE and _has_within(skipped, started, ended):
        state, seconds = State.CACHED, None
    error = error_of(node) if node is not None and state is State.FAILED else ""
    return Step(name, state, started, seconds, error)


def _has_within(moments: Sequence[datetime | None], start: datetime | None, end: datetime | None) -> bool:
    if start is None or end is None or (end - start).total_seconds() > _NO_POD:
        return False
    return any(moment is not None and start <= moment <= end for moment in moments)


def _is_skipped(node: Any) -> bool:
    return bool(node.state == "SKIPPED")


def _time(moment: datetime | None) -> datetime | None:
    """Returns a moment of the server's, which writes year 1 or 1970 for what has not come."""
    if moment is None or moment.year <= 1970:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
