"""The end of a failed step's log, where the server still has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from components.errors import PipelineError
from pipelines.kubeflow.connection import Client

_LINES = 12
# What KFP calls the template of a step's pod, with retries and without; Argo names the pod after it.
_TEMPLATES = ("retry-system-container-impl", "system-container-impl")


def end_of_log(client: Client, run: Any, step: str) -> list[str]:
    """Returns the last lines of a failed step's log; none where the server does not have it.

    Args:
        client: The connection.
        run: The V2beta1Run.
        step: The step's name.
    """
    for pod in _pods(run, step):
        try:
            log = client.log_of(run.run_id, pod)
        except (PipelineError, UnicodeDecodeError):
            continue
        lines = [line.rstrip() for line in log.splitlines() if line.strip()]
        if lines:
            return lines[-_LINES:]
    return []


def _pods(run: Any, step: str) -> Iterator[str]:
    """Yields names that the pod of a step's last attempt may have.

    A node of a workflow is called `<workflow>-<number>`, and its pod `<workflow>-<template>-<number>`. The
    step's node has one child, which is the pod's, or, with retries, one whose children are the attempts.
    """
    nodes = (run.run_details.task_details or ()) if run.run_details else ()
    own = next((node for node in nodes if node.display_name == step), None)
    if own is None:
        return
    attempts = [
        attempt
        for node in nodes
        if node.display_name == "executor" and node.state == "FAILED" and _within(node, own)
        for attempt in reversed(node.child_tasks or ())
    ]
    for child in [*attempts, *(own.child_tasks or ())]:
        workflow, _, number = (child.pod_name or "").rpartition("-")
        for template in _TEMPLATES:
            yield f"{workflow}-{template}-{number}"


def _within(node: Any, other: Any) -> bool:
    times = (other.start_time, node.start_time, node.end_time, other.end_time)
    return None not in times and list(times) == sorted(times)
