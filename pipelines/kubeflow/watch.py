"""Waits for a run on Kubeflow and prints a line for each change of a step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from components.errors import PipelineError
from pipelines.console import print_line
from pipelines.formatting import format_duration
from pipelines.kubeflow.connection import Client, ServerError

INTERRUPTED = 130

_INTERVAL = 5.0  # seconds between two requests
_PATIENCE = 900.0  # seconds without a response until waiting ends
_LOG_LINES = 12
_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})  # states of a run that do not change again
_STATES = {
    "PENDING": "waiting",
    "PAUSED": "waiting",
    "RUNNING": "running",
    "CANCELING": "running",
    "SUCCEEDED": "done",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELED": "stopped",
}
_NO_POD = 2.0  # seconds; no pod starts, works and ends within them
# KFP's templates of a step's pods (with retries, without, its driver), which Argo names the pods after.
_TEMPLATES = ("retry-system-container-impl", "system-container-impl", "system-container-driver")
_BEGINNING = datetime.min.replace(tzinfo=UTC)


def wait(client: Client, run_id: str, names: Sequence[str], namespace: str, console: Console) -> int:
    """Prints what the steps of a run do until it ends.

    Args:
        client: The connection.
        run_id: The run.
        names: Its steps, in their order.
        namespace: Where its pods are.
        console: Where to print.

    Returns:
        The exit status: 0 succeeded, 1 not, 130 interrupted, which leaves the run alone.

    Raises:
        PipelineError: The server does not respond any more, or refuses; the run goes on.
    """
    link = client.link(f"runs/details/{run_id}")
    try:
        run = _follow(client, run_id, names, console)
    except KeyboardInterrupt:
        print_line(console, f"The run goes on in the cluster. To stop it: Terminate on {link}")
        return INTERRUPTED
    seconds = (run.finished_at - run.created_at).total_seconds() if run.finished_at and run.created_at else 0
    took = f" after {format_duration(seconds)}" if seconds > 0 else ""
    if run.state == "SUCCEEDED":
        print_line(console, f"The run succeeded{took}.")
        return 0
    failed = [step for step in steps_of(run, names) if step.state == "failed"]
    for step in failed:
        error = _error_of(step.node)
        print_line(console, f"The step {step.name} failed{f': {error}' if error else ''}")
        for line in _end_of_log(client, run, step.node):
            print_line(console, f"    {line}")
    error = _error_of(run)
    print_line(console, f"The run ended as {run.state.lower()}{took}{f': {error}' if error else ''}.")
    if failed:
        print_line(
            console,
            f"All of its log: {link}, or: kubectl logs --namespace {namespace} --selector "
            f"pipeline/runid={run_id} --container main --prefix --tail 30",
        )
    return 1


def _follow(client: Client, run_id: str, names: Sequence[str], console: Console) -> Any:
    """Returns the run once it has ended; a server that is away for a while is waited for."""
    shown = dict.fromkeys(names, "waiting")
    responded, is_away = time.monotonic(), False
    while True:
        try:
            run = client.get_run(run_id)
        except ServerError as error:
            if not error.is_temporary or time.monotonic() - responded > _PATIENCE:
                raise ServerError(
                    f"{error} The run goes on in the cluster as {run_id}.", error.status
                ) from None
            if not is_away:
                print_line(console, f"No response just now, trying again: {error}")
            is_away = True
        else:
            responded, is_away = time.monotonic(), False
            for number, step in enumerate(steps_of(run, names), 1):
                if step.state != shown[step.name]:
                    shown[step.name] = step.state
                    took = f" in {format_duration(step.seconds)}" if step.seconds is not None else ""
                    print_line(console, f"[{number}/{len(names)}] {step.name}: {step.state}{took}")
            if run.state in _ENDED:
                return run
        time.sleep(_INTERVAL)


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        name: Its name.
        state: waiting, running, done, cached, skipped, failed or stopped.
        seconds: How long it took; None where it has not ended, or where nothing executed.
        node: The node of the workflow that says so; None where there is none yet.
    """

    name: str
    state: str
    seconds: float | None = None
    node: Any = None


def steps_of(run: Any, names: Sequence[str]) -> list[Step]:
    """Returns the steps of a run.

    A step is two nodes of the workflow: its driver, `<name>-driver`, looks for an earlier result, and
    `<name>` wraps what executes. Where the driver has found one, the node inside, `executor`, is skipped, and
    the step has succeeded at once. The server does not say which `executor` is whose: their times do. Where
    Argo has repeated a part of the workflow, several nodes have one name, and the last one counts.

    Args:
        run: A V2beta1Run.
        names: The steps in the order that is wanted.
    """
    nodes = sorted(_nodes(run), key=lambda node: _time(node.start_time) or _BEGINNING)
    by_name = {node.display_name: node for node in nodes}
    skipped = [
        moment
        for node in nodes
        if node.display_name == "executor" and node.state == "SKIPPED" and (moment := _time(node.start_time))
    ]
    return [
        _step(name, by_name.get(name), by_name.get(f"{name}-driver"), skipped, run.state in _ENDED)
        for name in names
    ]


def _step(name: str, node: Any, driver: Any, skipped: Sequence[datetime], is_over: bool) -> Step:
    if node is None or (driver is not None and driver.state == "FAILED"):
        node = driver
    if node is None:
        return Step(name, "skipped" if is_over else "waiting")
    state = _STATES.get(node.state or "", "waiting")
    if node is driver and state == "done":  # the step's own node is about to come
        state = "running"
    if is_over:
        state = {"running": "stopped", "waiting": "skipped"}.get(state, state)
    started, ended = _time(node.start_time), _time(node.end_time)
    seconds = None
    if started and ended and ended >= started and state in {"done", "failed"}:
        seconds = (ended - started).total_seconds()
        if state == "done" and seconds <= _NO_POD and any(started <= moment <= ended for moment in skipped):
            state, seconds = "cached", None
    return Step(name, state, seconds, node)


def _end_of_log(client: Client, run: Any, node: Any) -> list[str]:
    """Returns the last lines of a failed step's log; none where the server does not have it."""
    for pod in _pods(run, node):
        try:
            log = client.pod_log(run.run_id, pod)
        except (PipelineError, UnicodeDecodeError):
            continue
        lines = [line.rstrip() for line in log.splitlines() if line.strip()]
        if lines:
            return lines[-_LOG_LINES:]
    return []


def _pods(run: Any, step: Any) -> Iterator[str]:
    """Yields names that the pod of a step's last attempt may have.

    A node of a workflow is called `<workflow>-<number>`, and its pod `<workflow>-<template>-<number>`. The
    step's node has one child, which is the pod's, or, with retries, one whose children are the attempts.
    """
    attempts = [
        attempt
        for node in _nodes(run)
        if node.display_name == "executor" and node.state == "FAILED" and _is_within(node, step)
        for attempt in reversed(node.child_tasks or ())
    ]
    for child in [*attempts, *(step.child_tasks or ())]:
        workflow, _, number = (child.pod_name or "").rpartition("-")
        for template in _TEMPLATES:
            yield f"{workflow}-{template}-{number}"


def _is_within(node: Any, other: Any) -> bool:
    times = (other.start_time, node.start_time, node.end_time, other.end_time)
    return None not in times and list(times) == sorted(times)


def _nodes(run: Any) -> list[Any]:
    return list(run.run_details.task_details or ()) if run.run_details else []


def _error_of(thing: Any) -> str:
    """Returns the error of a run or of a node, in one line; empty where there is none."""
    errors = [thing.error, *(status.error for status in reversed(thing.state_history or ()))]
    return next((" ".join(error.message.split()) for error in errors if error and error.message), "")


def _time(moment: datetime | None) -> datetime | None:
    """Returns a moment of the server's, which writes year 1 or 1970 for what has not come."""
    if moment is None or moment.year <= 1970:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
