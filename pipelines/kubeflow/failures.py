"""Says why a run on Kubeflow failed: which task or driver, its reason, the end of its log, and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from components.errors import DataRejected, InputError, PipelineError
from pipelines.kubeflow.connection import KfpClient
from pipelines.kubeflow.workflow import Node, Workflow, latest, node_of, pods

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
        task: Name of the task; `root` for the whole run.
        is_driver: Whether the driver failed, and not the step.
        message: Argo's message; empty if unknown.
        pod: Name of the pod; empty if unknown.
        log: The end of the pod's log, without the lines of KFP's launcher; empty if there is none.
        is_repeated: Whether submitting again would fail in the same way.
    """

    task: str
    is_driver: bool
    message: str
    pod: str
    log: Sequence[str]
    is_repeated: bool

    @property
    def is_lost(self) -> bool:
        """Whether the pod did not fail, but was deleted or lost its node."""
        return bool(_LOST.search(self.message))

    def __str__(self) -> str:
        reason = f": {self.message}" if self.message else ""
        if self.is_lost:
            return (
                f"The pod of {self.task} was deleted, or its node went away{reason}. Submit the same file "
                "again: finished tasks are cached, and the Trainer resumes from its checkpoint."
            )
        if self.is_driver:
            prepared = "the run" if self.task == _ROOT else self.task
            return f"KFP's driver, which prepares {prepared}, failed{reason}"
        cure = next((f" ({cure})" for pattern, cure in _REPEATED if pattern.search(self.message)), "")
        return f"The task {self.task} failed{reason}{cure}"


def find_failures(
    client: KfpClient, run_id: str, nodes: Sequence[Node], workflow: Workflow | None, tasks: Sequence[str]
) -> list[Failure]:
    """Returns what failed in a run, in the order of its tasks.

    Args:
        client: The connection.
        run_id: The run's id.
        nodes: The nodes in KFP's list of tasks.
        workflow: The run's Workflow; without it, messages are unknown and the pods' names inferred.
        tasks: Names of the tasks.
    """
    order = (_ROOT, *tasks)
    if workflow is None:
        by_name = {node.name: node for node in latest(nodes)}
        found = [(node, list(pods(nodes, node))) for task in order if (node := node_of(task, by_name))]
    else:
        by_task = {node.task: node for node in latest(workflow.nodes) if node.pod}
        found = [(by_task[task], [by_task[task].pod]) for task in order if task in by_task]
    return [
        _failure(client, run_id, node, names)
        for node, names in found
        if node.state == "FAILED" and (node.is_driver or node.task != _ROOT)
    ]


def _failure(client: KfpClient, run_id: str, node: Node, names: Sequence[str]) -> Failure:
    is_lost = bool(_LOST.search(node.message))
    pod, lines = ("", []) if is_lost else _read_log(client, run_id, names)
    log = "\n".join(lines)
    status = _EXIT_STATUS.search(log)
    is_repeated = not is_lost and (
        any(pattern.search(node.message) for pattern, _ in _REPEATED)
        or _KILLED in log
        or (status is not None and int(status[1]) in _FINAL_STATUSES)
    )
    if not node.is_driver:
        lines = _without_launcher(lines) or lines
    return Failure(node.task, node.is_driver, node.message, pod or node.pod, lines[-_LOG_LINES:], is_repeated)


def _read_log(client: KfpClient, run_id: str, names: Iterable[str]) -> tuple[str, list[str]]:
    """Returns the first pod that has a log, and its lines; empty if the server has none of them."""
    for name in names:
        try:
            log = client.pod_log(run_id, name)
        except (PipelineError, UnicodeDecodeError):
            continue
        lines = [line.rstrip() for line in log.splitlines() if line.strip()]
        if lines:
            return name, lines
    return "", []


def _without_launcher(lines: Sequence[str]) -> list[str]:
    """Returns the lines of a step up to its own last one."""
    end = len(lines)
    while end and (_GO_LINE.match(lines[end - 1]) or _ARGO_LINE.match(lines[end - 1])):
        end -= 1
    return list(lines[:end])
