from __future__ import annotations

import copy
import json
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.kubeflow.container import finished, own_code
from pipelines.kubeflow.container.executor_input import prepare
from pipelines.kubeflow.container.finished import FinishedSteps, key
from pipelines.kubeflow.container.paths import Paths
from tests.pipelines.kubeflow.container.pod import Artifact, Cluster

EXECUTOR = "components.data_gate.component.Executor"
SPEC = {"artifacts": {"statistics": {"artifactType": {"instanceSchema": "title: tfx.ExampleStatistics"}}}}
OUTPUTS = {"verdict": "title: catsdogs.DataVerdict"}
PARAMETERS = {"source": "folder /data", "max_class_shift": 0.1}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def statistics(cluster: Cluster, contents: bytes = b"counted") -> Artifact:
    return cluster.put("statistics", {"Split-train/FeatureStats.pb": contents}, {"split_names": '["train"]'})


def prepared(
    cluster: Cluster, *, parameters: dict[str, Any] = PARAMETERS, **inputs: Artifact
) -> dict[str, Any]:
    return prepare(cluster.message("DataGate", OUTPUTS, inputs, parameters), SPEC)


def key_of(cluster: Cluster, message: dict[str, Any], executor: str = EXECUTOR) -> str:
    return key(executor, message, Paths(cluster.folder))


def test_the_same_step_of_another_run_has_the_same_key(cluster: Cluster) -> None:
    """Names, URIs and what the launcher adds differ; contents and properties do not."""
    first, second = statistics(cluster), statistics(cluster)
    assert first.uri != second.uri
    assert key_of(cluster, prepared(cluster, statistics=first)) == key_of(
        cluster, prepared(cluster, statistics=second)
    )


Change = Callable[[Cluster, dict[str, Any]], None]


def edit_file(cluster: Cluster, message: dict[str, Any]) -> None:
    [artifact] = message["inputs"]["artifacts"]["statistics"]["artifacts"]
    (cluster.local(artifact["uri"]) / "Split-train" / "FeatureStats.pb").write_bytes(b"counted anew")


def rename_file(cluster: Cluster, message: dict[str, Any]) -> None:
    [artifact] = message["inputs"]["artifacts"]["statistics"]["artifacts"]
    folder = cluster.local(artifact["uri"])
    (folder / "Split-train").rename(folder / "Split-eval")


def approve_anew(cluster: Cluster, message: dict[str, Any]) -> None:
    message["inputs"]["artifacts"]["statistics"]["artifacts"][0]["metadata"]["approved_in"] = "2026-11-22"


def drop_input(cluster: Cluster, message: dict[str, Any]) -> None:
    message["inputs"]["artifacts"].clear()


def change_parameter(cluster: Cluster, message: dict[str, Any]) -> None:
    message["inputs"]["parameterValues"]["max_class_shift"] = 0.2


def add_parameter(cluster: Cluster, message: dict[str, Any]) -> None:
    message["inputs"]["parameterValues"]["data_fingerprint"] = "1"


def change_output_type(cluster: Cluster, message: dict[str, Any]) -> None:
    message["outputs"]["artifacts"]["verdict"]["artifacts"][0]["type"] = {"schemaTitle": "tfx.Artifact"}


@pytest.mark.parametrize(
    "change",
    [
        edit_file,
        rename_file,
        approve_anew,
        drop_input,
        change_parameter,
        add_parameter,
        change_output_type,
    ],
)
def test_each_ingredient_gives_another_key(cluster: Cluster, change: Change) -> None:
    message = prepared(cluster, parameters=dict(PARAMETERS), statistics=statistics(cluster))
    before = key_of(cluster, message)
    assert key_of(cluster, copy.deepcopy(message)) == before
    change(cluster, message)
    assert key_of(cluster, message) != before


def test_another_executor_gives_another_key(cluster: Cluster) -> None:
    message = prepared(cluster, statistics=statistics(cluster))
    assert key_of(cluster, message) != key_of(
        cluster, message, "components.curated_schema.component.Executor"
    )


def test_other_packages_or_code_give_another_key(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    message = prepared(cluster, statistics=statistics(cluster))
    before = key_of(cluster, message)
    with monkeypatch.context() as patch:
        patch.setattr(finished, "_environment", lambda: ["3.13.0", "tfx==1.22.0"])
        assert key_of(cluster, message) != before
    with monkeypatch.context() as patch:
        patch.setattr(own_code, "fingerprint_behind", lambda names: ",".join(names))
        assert key_of(cluster, message) != before


def test_the_environment_names_versions() -> None:
    assert any(line.startswith("tfx==") for line in finished._environment())
    assert finished._environment() == finished._environment()


def test_code_of_functions_in_parameters_counts(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(own_code, "fingerprint_behind", lambda names: asked.append(list(names)))
    key_of(cluster, prepared(cluster, parameters={"run_fn": "trainer.run.run_fn"}))
    assert asked == [[EXECUTOR, "trainer.run.run_fn"]]


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
    assert remote.restore("k", later) is not None
    with tf.io.gfile.GFile("ram://bucket/run-2/verdict/Split-x/data") as file:
        assert file.read() == "contents"
    tf.io.gfile.rmtree("ram://bucket/run-1/verdict")
    assert remote.restore("k", later) is None
