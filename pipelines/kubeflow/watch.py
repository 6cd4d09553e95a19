"""Waits for a run on Kubeflow and prints a line whenever the state of a task changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console

from pipelines.console import print_line
from pipelines.formatting import format_duration
from pipelines.kubeflow.connection import KfpClient, ServerError
from pipelines.kubeflow.failures import find_failures
from pipelines.kubeflow.workflow import Node, Workflow, latest, listed_nodes, node_of, read_workflow

INTERRUPTED = 130

_INTERVAL = 5.0  # seconds between two requests
_RESPONSE_TIMEOUT = 900.0  # seconds without a response before waiting ends
_UNCHANGED = 60.0  # seconds without a change before the Workflow is read
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


@dataclass(frozen=True)
class Outcome:
    """How waiting for a run ended.

    Attributes:
        status: The exit status: 0 succeeded, 1 failed, 130 interrupted; an interrupt does not stop the run.
        may_succeed: Whether the run failed for a reason that may not occur again.
    """

    status: int
    may_succeed: bool = False


class RunWatch:
    """Prints the progress of a run until it ends.

    Args:
        client: The connection.
        run_id: The run's id.
        names: Names of its tasks, in the order to print them.
        namespace: Namespace of its pods, if its Workflow cannot be read.
        console: The console to print to.
    """

    def __init__(
        self, client: KfpClient, run_id: str, names: Sequence[str], namespace: str, console: Console
    ) -> None:
        self._client = client
        self._run_id = run_id
        self._names = names
        self._namespace = namespace
        self._console = console
        self._link = client.link(f"runs/details/{run_id}")
        self._shown = dict.fromkeys(names, "waiting")
        self._said: set[str] = set()
        self._workflow: Workflow | None = None

    def wait(self) -> Outcome:
        """Waits until the run ends.

        Raises:
            PipelineError: The server no longer responds or refuses a request; the run continues.
        """
        try:
            run = self._follow()
        except KeyboardInterrupt:
            print_line(
                self._console,
                f"The run continues in the cluster. To stop it, choose Terminate on {self._link}",
            )
            return Outcome(INTERRUPTED)
        took = ""
        if run.finished_at and run.created_at and run.finished_at > run.created_at:
            took = f" after {format_duration((run.finished_at - run.created_at).total_seconds())}"
        if run.state == "SUCCEEDED":
            print_line(self._console, f"The run succeeded{took}.")
            return Outcome(0)
        if _is_terminated(run):
            print_line(self._console, f"The run was terminated{took}.")
            return Outcome(1)
        may_succeed = self._report_failures(listed_nodes(run))
        print_line(self._console, f"The run ended as {run.state.lower()}{took}: {self._link}")
        return Outcome(1, may_succeed)

    def _follow(self) -> Any:
        """Returns the run once it has ended; retries while the server is unavailable."""
        responded = changed = time.monotonic()
        is_unavailable = False
        before: Sequence[Node] = []
        while True:
            try:
                run = self._client.get_run(self._run_id)
            except ServerError as error:
                if not error.is_temporary or time.monotonic() - responded > _RESPONSE_TIMEOUT:
                    raise ServerError(
                        f"{error} The run continues in the cluster as {self._run_id}.", error.status
                    ) from None
                if not is_unavailable:
                    print_line(self._console, f"The server does not respond; retrying: {error}")
                is_unavailable = True
            else:
                responded, is_unavailable = time.monotonic(), False
                nodes: Sequence[Node] = listed_nodes(run)
                if nodes != before:
                    before, changed = nodes, responded
                if self._is_frozen or responded - changed > _UNCHANGED or run.state in _ENDED:
                    changed = responded
                    nodes = self._read_workflow(nodes, run.state in _ENDED)
                self._show(nodes, run)
                if run.state in _ENDED:
                    return run
            time.sleep(_INTERVAL)

    @property
    def _is_frozen(self) -> bool:
        """Whether KFP's list of tasks no longer changes."""
        return self._workflow is not None and self._workflow.is_compressed

    def _read_workflow(self, nodes: Sequence[Node], is_over: bool) -> Sequence[Node]:
        """Returns the nodes that count, and prints which pods do not start.

        Args:
            nodes: The nodes in KFP's list of tasks.
            is_over: Whether the run has ended.
        """
        self._workflow = read_workflow(self._client, self._run_id) or self._workflow
        if self._is_frozen:
            self._print_once(
                "The run's Workflow is larger than 1 MiB, so that KFP's own list of tasks no longer changes; "
                "the states are read from the Workflow."
            )
        all_nodes = self._workflow.nodes if self._workflow else nodes
        if not all_nodes and not is_over:
            self._print_once(
                "No pod of the run has started: look for the reason with kubectl describe workflow "
                f"--namespace {self._pod_namespace} --selector pipeline/runid={self._run_id}"
            )
        for node in all_nodes if not is_over else ():
            reason, separator, _ = node.message.partition(": ")
            if node.pod and node.state == "PENDING" and separator:
                pod = f"driver of {node.task}" if node.is_driver else node.task
                self._print_once(f"The pod of {pod} does not start: {node.message}", f"{node.pod} {reason}")
        return all_nodes if self._is_frozen else nodes

    @property
    def _pod_namespace(self) -> str:
        return (self._workflow and self._workflow.namespace) or self._namespace

    def _print_once(self, text: str, key: str | None = None) -> None:
        if (key or text) not in self._said:
            self._said.add(key or text)
            print_line(self._console, text)

    def _show(self, nodes: Sequence[Node], run: Any) -> None:
        """Prints the tasks whose state has changed."""
        for number, task in enumerate(task_statuses(nodes, self._names, run.state), 1):
            state = task.state
            if state == "failed" and _is_terminated(run):
                state = "stopped"
            if state != self._shown[task.name]:
                self._shown[task.name] = state
                took = f" in {format_duration(task.seconds)}" if task.seconds is not None else ""
                print_line(self._console, f"[{number}/{len(self._names)}] {task.name}: {state}{took}")

    def _report_failures(self, nodes: Sequence[Node]) -> bool:
        """Prints what failed, and returns whether the same may succeed when it is submitted again."""
        failures = find_failures(self._client, self._run_id, nodes, self._workflow, self._names)
        for failure in failures:
            print_line(self._console, str(failure))
            for line in failure.log:
                print_line(self._console, f"    {line}")
            if not failure.is_lost:
                which = failure.node.pod or f"--selector pipeline/runid={self._run_id} --prefix --tail 30"
                print_line(
                    self._console,
                    f"The whole log: kubectl logs --namespace {self._pod_namespace} --container main {which}",
                )
        if self._workflow and self._workflow.message and not failures:
            print_line(self._console, f"The Workflow failed: {self._workflow.message}")
        return bool(failures) and not any(failure.is_repeated for failure in failures)


def _is_terminated(run: Any) -> bool:
    states = [run.state, *(status.state for status in run.state_history or ())]
    return bool({"CANCELING", "CANCELED"} & set(states))


@dataclass(frozen=True)
class TaskStatus:
    """The status of one task of a run.

    Attributes:
        name: The task's name.
        state: waiting, running, done, cached, skipped, failed or stopped.
        seconds: Its duration; None if it has not ended or was not executed.
    """

    name: str
    state: str
    seconds: float | None = None


def task_statuses(nodes: Sequence[Node], names: Sequence[str], run_state: str) -> list[TaskStatus]:
    """Returns the status of each task of a run.

    A task has two workflow nodes: the driver, `<name>-driver`, looks for a cached result, and `<name>` wraps
    the execution. If the driver finds a cached result, the inner node `executor` is skipped and the task
    succeeds at once. KFP's list does not state which `executor` belongs to which task, so they are matched by
    time.

    Args:
        nodes: The nodes of the run's workflow.
        names: Names of the tasks, in the order to return them.
        run_state: The state of the run.
    """
    ordered = latest(nodes)
    by_name = {node.name: node for node in ordered}
    skipped = [
        node.started
        for node in ordered
        if node.name == "executor" and node.state == "SKIPPED" and node.started is not None
    ]
    return [_task_status(name, node_of(name, by_name), skipped, run_state) for name in names]


def _task_status(name: str, node: Node | None, skipped: Sequence[datetime], run_state: str) -> TaskStatus:
    state = _STATES.get(node.state, "waiting") if node else "waiting"
    if node and node.is_driver and state == "done":  # the task's own node does not exist yet
        state = "running"
    if run_state == "SUCCEEDED" and state != "done":  # KFP's list ended before the run
        return TaskStatus(name, "done (the server lists no details)")
    if run_state in _ENDED:
        state = {"running": "stopped", "waiting": "skipped"}.get(state, state)
    seconds = None
    if node and node.started and node.ended and node.ended >= node.started and state in {"done", "failed"}:
        seconds = (node.ended - node.started).total_seconds()
        if (
            state == "done"
            and seconds <= _SHORTEST_POD
            and any(node.started <= moment <= node.ended for moment in skipped)
        ):
            state, seconds = "cached", None
    return TaskStatus(name, state, seconds)
