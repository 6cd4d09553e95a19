"""Says why a run on Kubeflow failed: which task or driver, its reason, the end of its log, and a remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from components.errors import DataRejected, InputError, PipelineError
from pipelines.kubeflow.connection import KfpClient
from pipelines.kubeflow.workflow import Node, Workflow, latest, node_of

_ROOT = "root"  # the run itself, which has a driver, too
_LOG_LINES = 12
# What Argo says of a pod that was deleted, evicted or preempted, and of one whose node went away.
_LOST = re.compile(r"pod deleted|exit code 143|node (is )?shut|low on resource|preempt", re.IGNORECASE)
# Reasons that the next try would meet again → what to do.
_REPEATED = (
    (re.compile("OOMKilled"), "its memory is exhausted: raise memory_limit in kubeflow.tasks"),
    (re.compile(r"deadline|Max duration"), "raise timeout_seconds in kubeflow.tasks; the Trainer resumes"),
)
_FINAL_STATUSES = frozenset({InputError.exit_status, DataRejected.exit_status})
# KFP's launcher and Argo add lines to a step's log after the step's own last line.
_GO_LINE = re.compile(r"[IWEF]\d{4} \S+ +\d+ \S+\.go:\d+\] ")
_ARGO_LINE = re.compile(r'.*(\bargo=true\b|"argo":true)|Error: exit status \d+$')
_EXIT_STATUS = re.compile(r"failed to execute component: .*exit status (\d+)")
_KILLED = "failed to execute component: signal: killed"


@dataclass(frozen=True)
class Failure:
    """A task that failed, or the driver with which KFP prepares a task.

    Attributes:
        node: Its node.
        log: The end of the pod's log, without the lines of KFP's launcher; empty if there is none.
        is_repeated: Whether submitting again would fail in the same way.
    """

    node: Node
    log: Sequence[str]
    is_repeated: bool

    @property
    def is_lost(self) -> bool:
        """Whether the pod did not fail, but was deleted or lost its node."""
        return bool(_LOST.search(self.node.message))

    def __str__(self) -> str:
        task = "the run" if self.node.task == _ROOT else self.node.task
        message = self.node.message
        reason = f": {message}" if message else ""
        if self.is_lost:
            return (
                f"The pod of {task} was deleted, or its node went away{reason}. Submit the same file "
                "again: finished tasks are cached, and the Trainer resumes from its checkpoint."
            )
        if self.node.is_driver:
            return f"KFP's driver, which prepares {task}, failed{reason}"
        cure = next((f" ({cure})" for pattern, cure in _REPEATED if pattern.search(message)), "")
        return f"The task {task} failed{reason}{cure}"


def find_failures(
    client: KfpClient, run_id: str, nodes: Sequence[Node], workflow: Workflow | None, tasks: Sequence[str]
) -> list[Failure]:
    """Returns what failed in a run, in the order of its tasks.

    Args:
        client: The connection.
        run_id: The run's id.
        nodes: The nodes in KFP's list of tasks.
        workflow: The run's Workflow; without it, messages and logs are unknown.
        tasks: Names of the tasks.
    """
    order = (_ROOT, *tasks)
    if workflow is None:
        by_name = {node.name: node for node in latest(nodes)}
        found = [node_of(task, by_name) for task in order]
    else:
        by_task = {node.task: node for node in latest(workflow.nodes) if node.pod}
        found = [by_task.get(task) for task in order]
    return [
        _failure(client, run_id, node)
        for node in found
        if node and node.state == "FAILED" and (node.is_driver or node.task != _ROOT)
    ]


def _failure(client: KfpClient, run_id: str, node: Node) -> Failure:
    failure = Failure(node, (), False)
    if failure.is_lost:
        return failure
    lines = _read_log(client, run_id, node.pod) if node.pod else []
    log = "\n".join(lines)
    status = _EXIT_STATUS.search(log)
    is_repeated = (
        any(pattern.search(node.message) for pattern, _ in _REPEATED)
        or _KILLED in log
        or (status is not None and int(status[1]) in _FINAL_STATUSES)
    )
    if not node.is_driver:
        lines = _without_launcher(lines) or lines
    return Failure(node, lines[-_LOG_LINES:], is_repeated)


def _read_log(client: KfpClient, run_id: str, pod: str) -> list[str]:
    """Returns the lines of a pod's log; none if the server does not have it."""
    try:
        log = client.pod_log(run_id, pod)
    except (PipelineError, UnicodeDecodeError):
        return []
    return [line.rstrip() for line in log.splitlines() if line.strip()]


def _without_launcher(lines: Sequence[str]) -> list[str]:
    """Returns the lines of a step up to its own last one."""
    end = len(lines)
    while end and (_GO_LINE.match(lines[end - 1]) or _ARGO_LINE.match(lines[end - 1])):
        end -= 1
    return list(lines[:end])
