"""What the entry point does around TFX; in test_steps.py it runs tasks."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components import fingerprint
from components.errors import DataRejected
from pipelines.kubeflow.container import entrypoint, transient
from pipelines.kubeflow.container.entrypoint import CODE, Node
from pipelines.kubeflow.container.executor_input import normalize_executor_input
from pipelines.settings.beam import BeamConfig
from tests.pipelines.kubeflow.container.pod import Artifact, Cluster

GATE = ("--node", "DataGate", "--component", "components.data_gate.component.DataGate")
OUTPUTS = {"verdict": "catsdogs.DataVerdict"}
ARGUMENTS = ["--executor_input", "{}", "--code_fingerprint", "0", "--approvals", "/state", *GATE]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.fixture
def statistics(cluster: Cluster) -> Artifact:
    return cluster.put("statistics", {"Split-train/FeatureStats.pb": b"counted"}, {"split_names": "[]"})


def message(cluster: Cluster, statistics: Artifact) -> dict[str, Any]:
    return cluster.message("DataGate", OUTPUTS, {"statistics": statistics}, {"source": "sample"})


def test_an_image_of_other_code_is_refused(cluster: Cluster, statistics: Artifact) -> None:
    done = cluster.start(message(cluster, statistics), *GATE, code="0123456789abcdef")
    assert done.returncode == 2
    assert "0123456789ab" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_candidate_that_was_removed_from_the_store(
    cluster: Cluster, statistics: Artifact, left: str
) -> None:
    """Its own approval must not be taken for that of another."""
    shutil.rmtree(cluster.local(statistics.uri))
    if left == "an empty folder":
        (cluster.local(statistics.uri) / "Split-train").mkdir(parents=True)
    done = cluster.start(message(cluster, statistics), *GATE)
    assert done.returncode == 1
    assert statistics.uri in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_what_follows_a_node_belongs_to_it() -> None:
    options, [table, evaluator] = entrypoint.parse_arguments(
        [
            *("--executor_input", "{}", "--code_fingerprint", "0", "--approvals", "/state"),
            *("--node", "PredictionTable", "--component", "a.Table", "--inputs", "examples,model"),
            *("--parameters", '{"rows": 3}', "--beam", '{"runner": "flink"}', "--staging", "/state/beam"),
            *("--node", "Evaluator", "--component", "b.Evaluator", "--inputs", "examples=predictions"),
            "--runner=FnApiRunner",
        ]
    )
    assert options.approvals == Path("/state")
    assert table == Node(
        "PredictionTable",
        "a.Table",
        {"examples": "examples", "model": "model"},
        {"rows": 3},
        beam=BeamConfig(runner="flink"),
        staging=Path("/state/beam"),
        beam_arguments=(),
    )
    assert evaluator == Node(
        "Evaluator",
        "b.Evaluator",
        {"examples": "predictions"},
        {},
        beam=None,
        staging=None,
        beam_arguments=("--runner=FnApiRunner",),
    )


def test_a_node_takes_its_inputs_from_the_task_and_from_nodes_before_it(cluster: Cluster) -> None:
    examples, model = (cluster.put(name, {"file": b"x"}) for name in ("examples", "model"))
    task = normalize_executor_input(
        cluster.message("t", OUTPUTS, {"examples": examples, "model": model}, {"source": "sample"})
    )
    predictions = {"artifacts": [{"uri": "minio://b/predictions"}]}
    node = Node("Evaluator", "b.Evaluator", {"examples": "predictions"}, {"rows": 3}, None, None, ())
    given = entrypoint._node_message(node, task, {"predictions": predictions})
    assert given["inputs"] == {
        "artifacts": {"examples": predictions},
        "parameterValues": {"rows": 3, "source": "sample"},
    }
    assert given["outputs"]["outputFile"] != task["outputs"]["outputFile"]
    whole = entrypoint._node_message(replace(node, inputs=None), task, {})
    assert whole["inputs"]["artifacts"] == task["inputs"]["artifacts"]


@pytest.mark.slow
def test_a_cluster_that_cannot_be_reached_is_said_in_one_sentence(
    cluster: Cluster,
    statistics: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing listens at port 1."""
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    monkeypatch.setattr(transient, "_PAUSES", (0, 0))
    monkeypatch.setenv("CATSDOGS_LAUNCHER_ROOT", str(cluster.folder))
    flink = {"master": "localhost:1", "job_endpoint": "localhost:1", "environment": "external"}
    entrypoint.main(
        [
            *("--executor_input", json.dumps(message(cluster, statistics))),
            *("--code_fingerprint", fingerprint.of_code(*CODE), "--approvals", str(cluster.state), *GATE),
            *("--beam", json.dumps({"runner": "flink", "flink": flink}), "--staging", str(cluster.state)),
        ]
    )
    assert statuses == [1]
    assert "localhost:1" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_step_that_fails_for_a_reason_that_nobody_foresaw(cluster: Cluster, statistics: Artifact) -> None:
    """These statistics are none."""
    given = message(cluster, statistics)
    output = cluster.local(given["outputs"]["artifacts"]["verdict"]["artifacts"][0]["uri"])
    output.mkdir(parents=True)
    (output / "of an earlier attempt").touch()
    done = cluster.start(given, *GATE, "--parameters", '{"max_class_shift": 0.1}')
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert list(output.iterdir()) == []
    assert not Path(given["outputs"]["outputFile"]).exists()


@pytest.mark.parametrize("status", [0, None, 3])
def test_an_executor_that_ends_the_process_has_failed(
    status: int | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Status 0 would be a success without outputs."""

    def leave(*_: object) -> None:
        sys.exit(status)

    class Ended(BaseException):
        pass

    def end(status: int) -> None:
        raise Ended(status)

    monkeypatch.setattr(entrypoint, "run", leave)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Ended) as ended:
        entrypoint.main(ARGUMENTS)
    assert ended.value.args == (1,)
    assert "The task failed" in caplog.text


def test_after_a_failure_of_the_network_only_the_failed_node_is_repeated(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[Exception | str] = ["first", ConnectionResetError(), "second"]
    executed: list[str] = []

    def execute(node: Node, *_: object) -> dict[str, object]:
        executed.append(node.id)
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return {result: {"artifacts": [{}]}}

    monkeypatch.setattr(entrypoint, "_execute", execute)
    monkeypatch.setattr(transient, "_PAUSES", (0, 0))
    monkeypatch.setenv("CATSDOGS_LAUNCHER_ROOT", str(cluster.folder))
    output_file = run_two_nodes(cluster)
    assert executed == ["A", "B", "B"]
    assert json.loads(output_file.read_text())["artifacts"].keys() == {"first", "second"}


@pytest.mark.parametrize("staging", [None, "/state/beam"])
def test_what_workers_have_written_to_gs_is_read_there_by_the_next_node(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, staging: str | None
) -> None:
    """The launcher has downloaded the inputs of the task only."""
    seen: list[str] = []

    def execute(node: Node, message: Any, is_remote: bool) -> dict[str, object]:
        with entrypoint._place_beam(replace(node, beam=None), message, is_remote) as (paths, _):
            seen.append(paths.executor_path("gs://bucket/predictions"))
        return {"first": {"artifacts": [{}]}}

    monkeypatch.setattr(entrypoint, "_execute", execute)
    monkeypatch.setenv("CATSDOGS_LAUNCHER_ROOT", str(cluster.folder))
    run_two_nodes(cluster, "--beam", '{"runner": "flink"}', *(("--staging", staging) if staging else ()))
    expected = str(cluster.folder / "gcs/bucket/predictions") if staging else "gs://bucket/predictions"
    assert seen == [expected] * 2


def run_two_nodes(cluster: Cluster, *first: str) -> Path:
    """Runs a task with two nodes, and returns its output file; `first` are more arguments of the first."""
    given = cluster.message("task", OUTPUTS)
    output_file = Path(given["outputs"]["outputFile"])
    output_file.parent.mkdir(parents=True)
    options, nodes = entrypoint.parse_arguments(
        [
            *("--executor_input", json.dumps(given), "--code_fingerprint", fingerprint.of_code(*CODE)),
            *("--approvals", str(cluster.state), "--node", "A", "--component", "a.A", "--inputs", "", *first),
            *("--node", "B", "--component", "b.B", "--inputs", "first"),
        ]
    )
    entrypoint.run(options, nodes)
    return output_file


def test_what_a_worker_of_beam_raised_is_said_in_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    error = RuntimeError("Traceback (most recent call last):\ncomponents.errors.DataRejected: No images.")
    assert entrypoint._report(error) == DataRejected.exit_status
    assert capsys.readouterr().err == "\nNo images.\n"


@pytest.mark.parametrize(
    ("error", "file"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/state/catsdogs/w.h5"), "/state/catsdogs/w.h5"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/state/catsdogs/w.h5"), "/state/catsdogs/w.h5"),
        (RuntimeError("/minio/b/x; No space left on device"), ""),  # TensorFlow's errors have no number
    ],
)
def test_a_full_disk_behind_another_error(
    error: Exception, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cures of a local run, such as catsdogs clean, do not help in a pod."""
    outer = RuntimeError("The bundle failed")
    outer.__cause__ = error
    assert entrypoint._report(outer) == 1
    [sentence] = capsys.readouterr().err.split("\n")[-2:-1]
    assert file in sentence
    assert "volume" in sentence
    assert "clean" not in sentence


def test_the_entry_point_runs_no_code_but_what_the_image_is_held_to() -> None:
    """What is imported when TFX is not needed, other than packages without code."""
    program = (
        "import sys; from pipelines.kubeflow.container import entrypoint, lookup; "
        "print(*(name for name, module in sys.modules.items() if getattr(module, '__file__', None)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).resolve().parents[4],
        capture_output=True,
        text=True,
        check=True,
    )
    ours = {name for name in done.stdout.split() if name.startswith(("components.", "pipelines."))}
    packages = tuple(f"{covered}." for covered in entrypoint.CODE)
    held = {name for name in ours if name in entrypoint.CODE or name.startswith(packages)}
    assert ours - held == {"pipelines.kubeflow", "pipelines.settings"}
