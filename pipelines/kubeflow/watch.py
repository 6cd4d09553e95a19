"""Waits for a run on Kubeflow and prints a line whenever the state of a task changes."""

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
from pipelines.kubeflow.connection import KfpClient, ServerError

INTERRUPTED = 130

_INTERVAL = 5.0  # seconds between two requests
_RESPONSE_TIMEOUT = 900.0  # seconds without a response before waiting ends
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
_SHORTEST_POD = 2.0  # seconds; a task that ends sooner started no pod
# Argo names a pod after KFP's template: a task with retries, a task without, and the task's driver.
_TEMPLATES = ("retry-system-container-impl", "system-container-impl", "system-container-driver")
_EARLIEST = datetime.min.replace(tzinfo=UTC)


def wait(client: KfpClient, run_id: str, names: Sequence[str], namespace: str, console: Console) -> int:
    """Prints the progress of a run until it ends.

    Args:
        client: The connection.
        run_id: The run's id.
        names: Names of its tasks, in the order to print them.
        namespace: Namespace of its pods.
        console: The console to print to.

    Returns:
        The exit status: 0 succeeded, 1 failed, 130 interrupted; an interrupt does not stop the run.

    Raises:
        PipelineError: The server no longer responds or refuses a request; the run continues.
    """
    link = client.link(f"runs/details/{run_id}")
    try:
        run = _follow(client, run_id, names, console)
    except KeyboardInterrupt:
        print_line(console, f"The run continues in the cluster. To stop it, choose Terminate on {link}")
        return INTERRUPTED
    seconds = (run.finished_at - run.created_at).total_seconds() if run.finished_at and run.created_at else 0
    took = f" after {format_duration(seconds)}" if seconds > 0 else ""
    if run.state == "SUCCEEDED":
        print_line(console, f"The run succeeded{took}.")
        return 0
    failed = [task for task in task_statuses(run, names) if task.state == "failed"]
    for task in failed:
        error = _error_of(task.node)
        print_line(console, f"The task {task.name} failed{f': {error}' if error else ''}")
        for line in _end_of_log(client, run, task.node):
            print_line(console, f"    {line}")
    error = _error_of(run)
    print_line(console, f"The run ended as {run.state.lower()}{took}{f': {error}' if error else ''}.")
    if failed:
        print_line(
            console,
            f"The whole log: {link}, or: kubectl logs --namespace {namespace} --selector "
            f"pipeline/runid={run_id} --container main --prefix --tail 30",
        )
    return 1


def _follow(client: KfpClient, run_id: str, names: Sequence[str], console: Console) -> Any:
    """Returns the run once it has ended; retries while the server is unavailable."""
    shown = dict.fromkeys(names, "waiting")
    responded, is_unavailable = time.monotonic(), False
    while True:
        try:
            run = client.get_run(run_id)
        except ServerError as error:
            if not error.is_temporary or time.monotonic() - responded > _RESPONSE_TIMEOUT:
                raise ServerError(
                    f"{error} The run continues in the cluster as {run_id}.", error.status
                ) from None
            if not is_unavailable:
                print_line(console, f"The server does not respond; retrying: {error}")
            is_unavailable = True
        else:
            responded, is_unavailable = time.monotonic(), False
            for number, task in enumerate(task_statuses(run, names), 1):
                if task.state != shown[task.name]:
                    shown[task.name] = task.state
                    took = f" in {format_duration(task.seconds)}" if task.seconds is not None else ""
                    print_line(console, f"[{number}/{len(names)}] {task.name}: {task.state}{took}")
            if run.state in _ENDED:
                return run
        time.sleep(_INTERVAL)


@dataclass(frozen=True)
class TaskStatus:
    """The status of one task of a run.

    Attributes:
        name: The task's name.
        state: waiting, running, done, cached, skipped, failed or stopped.
        seconds: Its duration; None if it has not ended or was not executed.
        node: The workflow node that has this state; None if there is none yet.
    """

    name: str
    state: str
    seconds: float | None = None
    node: Any = None


def task_statuses(run: Any, names: Sequence[str]) -> list[TaskStatus]:
    """Returns the status of each task of a run.

    A task has two workflow nodes: the driver, `<name>-driver`, looks for a cached result, and `<name>` wraps
    the execution. If the driver finds a cached result, the inner node `executor` is skipped and the task
    succeeds at once. The server does not report which `executor` belongs to which task, so they are matched
    by time. If Argo repeated part of the workflow, several nodes share a name, and the latest one counts.

    Args:
        run: A V2beta1Run.
        names: Names of the tasks, in the order to return them.
    """
    nodes = sorted(_nodes(run), key=lambda node: _time(node.start_time) or _EARLIEST)
    by_name = {node.display_name: node for node in nodes}
    skipped = [
        moment
        for node in nodes
        if node.display_name == "executor" and node.state == "SKIPPED" and (moment := _time(node.start_time))
    ]
    return [
        _task_status(name, by_name.get(name), by_name.get(f"{name}-driver"), skipped, run.state in _ENDED)
        for name in names
    ]


def _task_status(name: str, node: Any, driver: Any, skipped: Sequence[datetime], is_over: bool) -> TaskStatus:
    if node is None or (driver is not None and driver.state == "FAILED"):
        node = driver
    if node is None:
        return TaskStatus(name, "skipped" if is_over else "waiting")
    state = _STATES.get(node.state or "", "waiting")
    if node is driver and state == "done":  # the task's own node does not exist yet
        state = "running"
    if is_over:
        state = {"running": "stopped", "waiting": "skipped"}.get(state, state)
    started, ended = _time(node.start_time), _time(node.end_time)
    seconds = None
    if started and ended and ended >= started and state in {"done", "failed"}:
        seconds = (ended - started).total_seconds()
        if (
            state == "done"
            and seconds <= _SHORTEST_POD
            and any(started <= moment <= ended for moment in skipped)
        ):
            state, seconds = "cached", None
    return TaskStatus(name, state, seconds, node)


def _end_of_log(client: KfpClient, run: Any, node: Any) -> list[str]:
    """Returns the last lines of a failed task's log; empty if the server does not have the log."""
    for pod in _pods(run, node):
        try:
            log = client.pod_log(run.run_id, pod)
        except (PipelineError, UnicodeDecodeError):
            continue
        lines = [line.rstrip() for line in log.splitlines() if line.strip()]
        if lines:
            return lines[-_LOG_LINES:]
    return []


def _pods(run: Any, task_node: Any) -> Iterator[str]:
    """Yields possible names of the pod of a task's last attempt.

    A workflow node is named `<workflow>-<number>`, and its pod `<workflow>-<template>-<number>`. The task's
    node has one child: the pod's node, or, with retries, a node whose children are the attempts.
    """
    attempts = [
        attempt
        for node in _nodes(run)
        if node.display_name == "executor" and node.state == "FAILED" and _is_within(node, task_node)
        for attempt in reversed(node.child_tasks or ())
    ]
    for child in [*attempts, *(task_node.child_tasks or ())]:
        workflow, _, number = (child.pod_name or "").rpartition("-")
        for template in _TEMPLATES:
            yield f"{workflow}-{template}-{number}"


def _is_within(node: Any, other: Any) -> bool:
    times = (other.start_time, node.start_time, node.end_time, other.end_time)
    return None not in times and list(times) == sorted(times)


def _nodes(run: Any) -> list[Any]:
    return list(run.run_details.task_details or ()) if run.run_details else []


def _error_of(run_or_node: Any) -> str:
    """Returns the error of a run or a node in one line; empty if there is none."""
    errors = [run_or_node.error, *(status.error for status in reversed(run_or_node.state_history or ()))]
    return next((" ".join(error.message.split()) for error in errors if error and error.message), "")


def _time(moment: datetime | None) -> datetime | None:
    """Returns a time of the server in UTC; None for year 1 or 1970, which stand for unset times."""
    if moment is None or moment.year <= 1970:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
