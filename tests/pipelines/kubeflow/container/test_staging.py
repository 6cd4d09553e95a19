from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.kubeflow.container.executor_input import normalize_executor_input
from pipelines.kubeflow.container.paths import Paths
from pipelines.kubeflow.container.staging import execution_name, staged_artifacts
from tests.pipelines.kubeflow.container.pod import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.fixture
def prepared(cluster: Cluster) -> dict[str, Any]:
    examples = cluster.put("examples", {"Split-train/a.tfrecord": b"records"})
    message = cluster.message("Transform", {"graph": "tfx.TransformGraph"}, {"examples": examples})
    return normalize_executor_input(message)


def uri(prepared: dict[str, Any], direction: str, name: str) -> str:
    return str(prepared[direction]["artifacts"][name]["artifacts"][0]["uri"])


def test_workers_get_copies_and_the_launcher_gets_the_results(
    cluster: Cluster, prepared: dict[str, Any]
) -> None:
    paths, folder = Paths(cluster.folder), cluster.state / "beam" / "task"
    graph = uri(prepared, "outputs", "graph")
    with staged_artifacts(prepared, paths, folder) as shared:
        examples = shared.local_path(uri(prepared, "inputs", "examples"))
        assert examples.is_relative_to(folder)
        assert (examples / "Split-train/a.tfrecord").read_bytes() == b"records"
        written = Path(shared.executor_path(graph)) / "saved_model.pb"
        assert shared.to_uri(str(written)) == f"{graph}/saved_model.pb"
        written.parent.mkdir(parents=True)
        written.write_bytes(b"graph")
    assert (cluster.local(graph) / "saved_model.pb").read_bytes() == b"graph"
    assert list(folder.parent.iterdir()) == []


def test_a_step_that_fails_leaves_nothing(cluster: Cluster, prepared: dict[str, Any]) -> None:
    folder = cluster.state / "beam" / "task"

    def fail() -> None:
        with staged_artifacts(prepared, Paths(cluster.folder), folder) as shared:
            shared.local_path(uri(prepared, "outputs", "graph")).mkdir(parents=True)
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        fail()
    assert list(folder.parent.iterdir()) == []
    assert not cluster.local(uri(prepared, "outputs", "graph")).exists()


def test_what_a_killed_attempt_left_is_removed_but_not_what_another_task_uses(
    cluster: Cluster, prepared: dict[str, Any]
) -> None:
    parent = cluster.state / "beam"
    for name in ("task", "other", "stale"):
        (parent / name / "minio").mkdir(parents=True)
        (parent / name / "minio" / "shard").touch()
    eight_days_ago = time.time() - 8 * 86400
    os.utime(parent / "stale", (eight_days_ago, eight_days_ago))
    with staged_artifacts(prepared, Paths(cluster.folder), parent / "task"):
        assert not (parent / "task" / "minio" / "shard").exists()
    assert [path.name for path in parent.iterdir()] == ["other"]


def test_an_artifact_on_a_volume_is_not_copied(cluster: Cluster, prepared: dict[str, Any]) -> None:
    approved = cluster.state / "approvals" / "files"
    approved.mkdir(parents=True)
    prepared["inputs"]["artifacts"]["examples"]["artifacts"][0]["uri"] = str(approved)
    folder = cluster.state / "beam" / "task"
    with staged_artifacts(prepared, Paths(cluster.folder), folder) as shared:
        assert shared.local_path(str(approved)) == approved
        assert not folder.exists()


def test_the_name_of_a_folder_is_that_of_the_execution() -> None:
    artifact = {"uri": "minio://mlpipeline/catsdogs/catsdogs/0b5e/Transform/5d1f/graph"}
    prepared = {"outputs": {"artifacts": {"graph": {"artifacts": [artifact]}}}}
    assert execution_name(prepared) == "0b5e-Transform-5d1f"
