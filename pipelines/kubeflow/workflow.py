"""Reads the nodes of a run from KFP's list of tasks and from the run's Argo Workflow.

KFP's list has states and times. The Workflow also has messages and the pods' names, and it stays complete
when it exceeds 1 MiB: Argo then compresses the nodes, and KFP's list no longer changes.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from components.errors import PipelineError
from pipelines.kubeflow.connection import KfpClient

_PHASES = {"ERROR": "FAILED", "OMITTED": ""}  # Argo's phases that KFP's list names otherwise
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_ATTEMPT = re.compile(r"\(\d+\)")


@dataclass(frozen=True)
class Node:
    """A node of a run's workflow.

    Attributes:
        name: Its name; the attempts of a node with retries have a number in parentheses.
        state: KFP's runtime state; empty for a node that was not executed.
        started: When it started; None if unknown.
        ended: When it ended; None if it has not ended.
        message: Argo's message; empty in KFP's list.
        pod: Name of its pod; empty in KFP's list, and for a node that is no pod.
        task: Name of its task; `root` for the run itself; `executor` for a step in KFP's list.
        is_driver: Whether it belongs to the driver with which KFP prepares the task.
    """

    name: str
    state: str
    started: datetime | None = None
    ended: datetime | None = None
    message: str = ""
    pod: str = ""
    task: str = ""
    is_driver: bool = False


@dataclass(frozen=True)
class Workflow:
    """The Argo Workflow of a run.

    Attributes:
        namespace: Namespace of the pods.
        message: Argo's message about the whole workflow.
        nodes: Its nodes.
        is_compressed: Whether KFP's list of tasks is incomplete because Argo compressed the nodes.
    """

    namespace: str
    message: str
    nodes: tuple[Node, ...]
    is_compressed: bool


def listed_nodes(run: Any) -> list[Node]:
    """Returns the nodes in KFP's list of tasks.

    Args:
        run: A V2beta1Run.
    """
    details = (run.run_details.task_details or ()) if run.run_details else ()
    return [
        Node(
            detail.display_name,
            detail.state or "",
            _known(detail.start_time),
            _known(detail.end_time),
            **_owner(detail.display_name),
        )
        for detail in details
    ]


def read_workflow(client: KfpClient, run_id: str) -> Workflow | None:
    """Returns the Workflow of a run; None if the server does not have it."""
    try:
        manifest = json.loads(client.workflow_manifest(run_id))
        return _parse(manifest)
    except (PipelineError, OSError, ValueError, KeyError, TypeError, AttributeError):  # optional information
        return None


def _parse(manifest: Mapping[str, Any]) -> Workflow:
    status, name = manifest.get("status") or {}, manifest["metadata"]["name"]
    compressed = status.get("compressedNodes") or ""
    nodes = (
        json.loads(gzip.decompress(base64.b64decode(compressed))) if compressed else status.get("nodes") or {}
    )
    return Workflow(
        manifest["metadata"].get("namespace", ""),
        one_line(status.get("message")),
        tuple(_argo_node(name, node) for node in nodes.values()),
        bool(compressed),
    )


def _argo_node(workflow: str, node: Mapping[str, Any]) -> Node:
    # The path of a step is WORKFLOW(0).root(0).TASK(0).executor(0), of its driver ….TASK-driver(0).
    path = _ATTEMPT.sub("", node["name"]).removesuffix(".executor")
    phase = (node.get("phase") or "").upper()
    pod = f"{workflow}-{node.get('templateName')}-{node['id'].rpartition('-')[2]}"
    return Node(
        node["displayName"],
        _PHASES.get(phase, phase),
        _moment(node.get("startedAt")),
        _moment(node.get("finishedAt")),
        one_line(node.get("message")),
        pod if node["type"] == "Pod" else "",
        **_owner(path.rpartition(".")[2]),
    )


def _owner(name: str) -> dict[str, Any]:
    name = _ATTEMPT.sub("", name)
    return {"task": name.removesuffix("-driver"), "is_driver": name.endswith("-driver")}


def latest(nodes: Iterable[Node]) -> list[Node]:
    """Returns nodes in the order of their start, since the last ones count if Argo repeats a part."""
    return sorted(nodes, key=lambda node: node.started or _EARLIEST)


def node_of(task: str, by_name: Mapping[str, Node]) -> Node | None:
    """Returns the node that has the state of a task; None before its driver has started.

    A task has two nodes: its driver, and then the task itself, which Argo omits if the driver failed.

    Args:
        task: Name of the task.
        by_name: The latest nodes by name.
    """
    node, driver = by_name.get(task), by_name.get(f"{task}-driver")
    if node is None or driver is None:
        return node or driver
    is_newer = (driver.started or _EARLIEST) > (node.started or _EARLIEST)
    return driver if driver.state == "FAILED" or is_newer else node


def one_line(text: str | None) -> str:
    """Returns a text in one line."""
    return " ".join((text or "").split())


def _moment(text: str | None) -> datetime | None:
    return _known(datetime.fromisoformat(text)) if text else None


def _known(moment: datetime | None) -> datetime | None:
    """Returns a time of the server in UTC; None for year 1 or 1970, which stand for unset times."""
    if moment is None or moment.year <= 1970:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
