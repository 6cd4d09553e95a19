from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.kubeflow.container.executor_input import prepare
from pipelines.kubeflow.container.finished import FinishedSteps
from pipelines.kubeflow.container.paths import Paths
from tests.pipelines.kubeflow.container.pod import Cluster

EXECUTOR = "components.data_gate.component.Executor"
OUTPUTS = {"verdict": "title: catsdogs.DataVerdict"}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def prepared(cluster: Cluster) -> dict[str, Any]:
    return prepare(cluster.message("DataGate", OUTPUTS), {})


def answer_for(cluster: Cluster, message: dict[str, Any], text: str = "accepted") -> dict[str, Any]:
    """What a step says that has written its output."""
    uri = message["outputs"]["artifacts"]["verdict"]["artifacts"][0]["uri"]
    file = cluster.local(uri) / "Split-x" / "verdict.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return {"artifacts": {"verdict": {"artifacts": [{"uri": uri, "metadata": {"blessed": 1.0}}]}}}


def verdict(cluster: Cluster, message: dict[str, Any]) -> str:
    uri = message["outputs"]["artifacts"]["verdict"]["artifacts"][0]["uri"]
    return (cluster.local(uri) / "Split-x" / "verdict.json").read_text()


def steps(cluster: Cluster) -> FinishedSteps:
    return FinishedSteps(cluster.state / "finished_steps" / EXECUTOR, Paths(cluster.folder))


def test_a_finished_step_is_handed_on_with_files_and_properties(cluster: Cluster) -> None:
    earlier, later = prepared(cluster), prepared(cluster)
    assert steps(cluster).restore("k", later) is None
    steps(cluster).keep("k", answer_for(cluster, earlier))
    shutil.rmtree(cluster.folder / "minio")  # the pod of the earlier run is gone

    answer = steps(cluster).restore("k", later)
    assert answer is not None
    [artifact] = answer["artifacts"]["verdict"]["artifacts"]
    assert artifact["uri"] == later["outputs"]["artifacts"]["verdict"]["artifacts"][0]["uri"]
    assert artifact["metadata"] == {"blessed": 1.0}
    assert verdict(cluster, later) == "accepted"
    assert steps(cluster).restore("another", later) is None


def test_what_an_attempt_that_was_cut_short_left_is_replaced(cluster: Cluster) -> None:
    steps(cluster).keep("k", answer_for(cluster, prepared(cluster)))
    later = prepared(cluster)
    answer_for(cluster, later, "half")
    assert steps(cluster).restore("k", later) is not None
    assert verdict(cluster, later) == "accepted"


def test_an_artifact_without_files(cluster: Cluster) -> None:
    earlier, later = prepared(cluster), prepared(cluster)
    answer = answer_for(cluster, earlier)
    shutil.rmtree(cluster.folder / "minio")
    steps(cluster).keep("k", answer)
    assert steps(cluster).restore("k", later) is not None
    assert not (cluster.folder / "minio").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "finished.json").write_text('{"answer": {"artif'),
        lambda entry: (entry / "finished.json").write_text("[]"),
        lambda entry: (entry / "finished.json").write_bytes(b"\xff\xfe"),
        lambda entry: (entry / "finished.json").unlink(),
        lambda entry: shutil.rmtree(entry / "verdict"),
        lambda entry: (entry / "verdict" / "Split-x" / "verdict.json").write_text("acc"),
        lambda entry: (entry / "verdict" / "another").touch(),
    ],
)
def test_what_is_damaged_counts_as_absent(
    cluster: Cluster, damage: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    steps(cluster).keep("k", answer_for(cluster, prepared(cluster)))
    damage(cluster.state / "finished_steps" / EXECUTOR / "k")
    later = prepared(cluster)
    assert steps(cluster).restore("k", later) is None
    assert "What was kept of this step in" in caplog.text
    assert "the step runs again" in caplog.text
    steps(cluster).keep("k", answer_for(cluster, later))
    assert steps(cluster).restore("k", prepared(cluster)) is not None


def test_an_error_of_this_pod_costs_no_entry(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    steps(cluster).keep("k", answer_for(cluster, prepared(cluster)))
    shutil.rmtree(cluster.folder / "minio")
    (cluster.folder / "minio").write_text("a file in the way")
    assert steps(cluster).restore("k", prepared(cluster)) is None
    assert "the step runs again" in caplog.text
    (cluster.folder / "minio").unlink()
    assert steps(cluster).restore("k", prepared(cluster)) is not None


def test_a_volume_whose_times_cannot_be_set(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    steps(cluster).keep("k", answer_for(cluster, prepared(cluster)))

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", refuse)
        patch.setattr(shutil, "copystat", lambda *_, **__: None)
        assert steps(cluster).restore("k", prepared(cluster)) is not None
    assert steps(cluster).restore("k", prepared(cluster)) is not None


def test_what_killed_pods_left_goes_after_a_day(cluster: Cluster) -> None:
    folder = cluster.state / "finished_steps" / EXECUTOR
    for name in (".old", ".young"):
        (folder / name / "verdict").mkdir(parents=True)
    os.utime(folder / ".old", (time.time() - 90_000,) * 2)
    steps(cluster).keep("k", answer_for(cluster, prepared(cluster)))
    assert {path.name for path in folder.iterdir()} == {".young", "k"}


def test_an_entry_that_another_run_removes_first(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for age, name in enumerate("abc"):
        steps(cluster).keep(name, answer_for(cluster, prepared(cluster)))
        os.utime(cluster.state / "finished_steps" / EXECUTOR / name, (1000 + age, 1000 + age))
    rename = Path.rename

    def too_late(path: Path, target: Path) -> Path:
        if path.name == "a":
            shutil.rmtree(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", too_late)
    steps(cluster).keep("d", answer_for(cluster, prepared(cluster)))
    assert caplog.text == ""
    assert steps(cluster).restore("d", prepared(cluster)) is not None


def test_many_may_keep_the_same_step_at_once(cluster: Cluster) -> None:
    messages = [prepared(cluster) for _ in range(8)]
    answers = [answer_for(cluster, message) for message in messages]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda answer: steps(cluster).keep("k", answer), answers))
    assert [path.name for path in (cluster.state / "finished_steps" / EXECUTOR).iterdir()] == ["k"]
    assert steps(cluster).restore("k", prepared(cluster)) is not None


def test_a_newer_execution_replaces_the_one_before(cluster: Cluster) -> None:
    for text in ("first", "second"):
        steps(cluster).keep("k", answer_for(cluster, prepared(cluster), text))
    later = prepared(cluster)
    steps(cluster).restore("k", later)
    assert verdict(cluster, later) == "second"


def test_those_used_last_stay(cluster: Cluster) -> None:
    folder = cluster.state / "finished_steps" / EXECUTOR
    for age, name in enumerate("abc"):
        steps(cluster).keep(name, answer_for(cluster, prepared(cluster)))
        os.utime(folder / name, (1000 + age, 1000 + age))
    steps(cluster).restore("a", prepared(cluster))
    steps(cluster).keep("d", answer_for(cluster, prepared(cluster)))
    assert {path.name for path in folder.iterdir()} == {"a", "c", "d"}


def test_a_volume_that_cannot_be_written_costs_no_work(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    (cluster.state).mkdir()
    (cluster.state / "finished_steps").write_text("a file in the way")
    with caplog.at_level(logging.WARNING):
        steps(cluster).keep("k", answer_for(cluster, prepared(cluster)))
    assert "The finished step cannot be kept in" in caplog.text
    assert "make the volume writable for the user of the pods, or give it more space" in caplog.text


@pytest.mark.slow
def test_what_remote_workers_wrote_is_copied_within_its_store(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from pipelines.kubeflow.container import paths as paths_module

    monkeypatch.setattr(paths_module, "_REMOTE", "ram://")  # TensorFlow's, in place of gs://
    remote = FinishedSteps(cluster.state, Paths(cluster.folder, keep_remote=True))
    earlier, later = prepared(cluster), prepared(cluster)
    for message, uri in ((earlier, "ram://bucket/run-1/verdict"), (later, "ram://bucket/run-2/verdict")):
        message["outputs"]["artifacts"]["verdict"]["artifacts"][0]["uri"] = uri
    tf.io.gfile.makedirs("ram://bucket/run-1/verdict/Split-x")
    with tf.io.gfile.GFile("ram://bucket/run-1/verdict/Split-x/data", "w") as file:
        file.write("contents")
    answer = {"artifacts": {"verdict": {"artifacts": [{"uri": "ram://bucket/run-1/verdict"}]}}}
    remote.keep("k", answer)
    assert json.loads((cluster.state / "k" / "finished.json").read_text())["outputs"] == {
        "verdict": {"uri": "ram://bucket/run-1/verdict", "sizes": {"Split-x/data": 8}}
    }
    tf.io.gfile.makedirs("ram://bucket/run-2/verdict/Split-x")
    with tf.io.gfile.GFile("ram://bucket/run-2/verdict/Split-x/of an earlier attempt", "w") as file:
        file.write("half")
    assert remote.restore("k", later) is not None
    with tf.io.gfile.GFile("ram://bucket/run-2/verdict/Split-x/data") as file:
        assert file.read() == "contents"
    assert tf.io.gfile.listdir("ram://bucket/run-2/verdict/Split-x") == ["data"]
    # Another attempt at the task that was kept, in its own place.
    assert remote.restore("k", earlier) is not None
    assert tf.io.gfile.listdir("ram://bucket/run-1/verdict/Split-x") == ["data"]
    tf.io.gfile.rmtree("ram://bucket/run-1/verdict")
    assert remote.restore("k", later) is None
