"""What the entry point does before TFX is needed; test_steps.py lets it run steps."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.approved_baseline.ledger import Ledger
from components.errors import DataRejected
from pipelines.kubeflow.container import entrypoint
from pipelines.kubeflow.container.executor_input import prepare
from pipelines.kubeflow.container.finished import FinishedSteps
from pipelines.kubeflow.container.paths import Paths
from pipelines.kubeflow.container.step_key import key
from tests.pipelines.kubeflow.container.pod import Artifact, Cluster

GATE = "components.data_gate.component.Executor"
SPEC = {
    "artifacts": {"statistics": {"artifactType": {"instanceSchema": "title: tfx.ExampleStatistics"}}},
    "parameters": {"source": {"parameterType": "STRING"}, "reuse": {"parameterType": "STRING"}},
}
OUTPUTS = {"verdict": "title: catsdogs.DataVerdict"}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.fixture
def statistics(cluster: Cluster) -> Artifact:
    return cluster.put("statistics", {"Split-train/FeatureStats.pb": b"counted"}, {"split_names": "[]"})


def message(cluster: Cluster, statistics: Artifact, reuse: str = "true") -> dict[str, Any]:
    return cluster.message(
        "DataGate", OUTPUTS, {"statistics": statistics}, {"source": "sample", "reuse": reuse}
    )


def arguments(cluster: Cluster) -> list[str]:
    return [
        *("--finished_steps", str(cluster.state / "finished_steps")),
        *("--approvals", str(cluster.state / "approvals"), "--approves", "statistics:accepted-data"),
    ]


def finish_earlier(cluster: Cluster, statistics: Artifact, metadata: dict[str, Any]) -> Path:
    """Leaves behind what the gate would have, had it run before; returns the folder."""
    earlier = prepare(message(cluster, statistics), SPEC)
    del earlier["inputs"]["parameterValues"]["reuse"]
    [verdict] = earlier["outputs"]["artifacts"]["verdict"]["artifacts"]
    folder = cluster.local(verdict["uri"])
    folder.mkdir(parents=True)
    (folder / "verdict.json").write_text("{}")
    answer = {"artifacts": {"verdict": {"artifacts": [{"uri": verdict["uri"], "metadata": metadata}]}}}
    paths = Paths(cluster.folder)
    steps = FinishedSteps(cluster.state / "finished_steps" / GATE, paths)
    steps.keep(key(GATE, earlier, paths), answer)
    shutil.rmtree(folder)
    return cluster.state / "finished_steps" / GATE


def test_an_image_of_other_code_is_refused(cluster: Cluster, statistics: Artifact) -> None:
    done = cluster.start(GATE, message(cluster, statistics), SPEC, "--code_fingerprint", "0123456789abcdef")
    assert done.returncode == 2
    [sentence] = [line for line in done.stderr.splitlines() if line]
    assert sentence.startswith("The image was built from other code (")
    assert sentence.endswith(
        ") than the pipeline was compiled from (0123456789ab): build it anew with make image, set "
        "kubeflow.images to its digests, and compile again."
    )


def test_a_step_that_was_finished_is_not_run_again(
    cluster: Cluster, statistics: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_earlier(cluster, statistics, {"blessed": 1.0, "source": "sample"})
    given = message(cluster, statistics)
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    done = cluster.start(GATE, given, SPEC, *arguments(cluster))
    assert done.returncode == 0, done.stderr
    imported = {name.partition(".")[0] for name in re.findall(r"\|\s*([\w.]+)$", done.stderr, re.MULTILINE)}
    assert "argparse" in imported
    assert imported & {"tfx", "tensorflow", "apache_beam"} == set()  # they take ten seconds
    assert "Nothing that this step depends on has changed" in done.stderr
    verdict = cluster.outputs(given)["verdict"]
    assert verdict.metadata == {"blessed": 1.0, "source": "sample"}
    assert (cluster.local(verdict.uri) / "verdict.json").read_text() == "{}"


def test_what_a_finished_step_approved_is_approved_again(cluster: Cluster, statistics: Artifact) -> None:
    finish_earlier(cluster, statistics, {"blessed": 1.0, "source": "sample"})
    cluster.start(GATE, message(cluster, statistics), SPEC, *arguments(cluster))
    approval = Ledger(cluster.state / "approvals" / "accepted-data").newest()
    assert approval is not None
    assert (approval.uri, approval.properties) == (statistics.uri, {"source": "sample"})
    assert approval.metadata == {"split_names": "[]"}  # without what the launcher has added
    assert (Path(approval.files) / "Split-train" / "FeatureStats.pb").read_bytes() == b"counted"


@pytest.mark.parametrize("metadata", [{"blessed": 0.0}, {}])
def test_what_was_not_approved_is_not_recorded(
    cluster: Cluster, statistics: Artifact, metadata: dict[str, Any]
) -> None:
    finish_earlier(cluster, statistics, metadata)
    done = cluster.start(GATE, message(cluster, statistics), SPEC, *arguments(cluster))
    assert done.returncode == 0, done.stderr
    assert "Nothing is approved, and so nothing is recorded in accepted-data" in done.stderr
    assert Ledger(cluster.state / "approvals" / "accepted-data").newest() is None


def test_an_approval_that_cannot_be_recorded_fails_the_step(cluster: Cluster, statistics: Artifact) -> None:
    finish_earlier(cluster, statistics, {"blessed": 1.0})
    (cluster.state / "approvals").write_text("a file in the way")
    given = message(cluster, statistics)
    done = cluster.start(GATE, given, SPEC, *arguments(cluster))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The approval cannot be recorded in ")
    assert "Traceback" not in done.stderr
    assert not Path(given["outputs"]["outputFile"]).exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", ["reuse is off", "other statistics"])
def test_else_the_step_runs(cluster: Cluster, statistics: Artifact, case: str) -> None:
    """These statistics are none, and so it fails: with a traceback, as nobody foresaw that."""
    finish_earlier(cluster, statistics, {"blessed": 1.0})
    if case == "other statistics":
        (cluster.local(statistics.uri) / "Split-train" / "FeatureStats.pb").write_bytes(b"counted anew")
    given = message(cluster, statistics, reuse="false" if case == "reuse is off" else "true")
    output = cluster.local(given["outputs"]["artifacts"]["verdict"]["artifacts"][0]["uri"])
    output.mkdir(parents=True)
    (output / "of an earlier attempt").touch()
    done = cluster.start(GATE, given, SPEC, *arguments(cluster))
    assert list(output.iterdir()) == []
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("KeyError: ")
    assert not Path(given["outputs"]["outputFile"]).exists()
    assert len(list((cluster.state / "finished_steps").glob("*/*"))) == 1  # failures are not kept


def test_bad_usage(cluster: Cluster, statistics: Artifact) -> None:
    done = cluster.start(GATE, message(cluster, statistics), SPEC, "--approves", "statistics")
    assert done.returncode == 2
    assert "'statistics' must be INPUT:LEDGER" in done.stderr


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
        entrypoint.main(
            [
                *("--executor_class_path", GATE, "--json_serialized_invocation_args", "{}"),
                *("--json_serialized_inputs_spec_args", "{}", "--code_fingerprint", "0"),
            ]
        )
    assert ended.value.args == (1,)
    assert "The step cannot go on" in caplog.text


@pytest.mark.slow
def test_outputs_are_empty_before_a_step_runs(tmp_path: Path) -> None:
    """Here and in the store: a second attempt has the same place, and shards of the first may be more."""
    import tensorflow as tf

    for output in (f"{tmp_path}/minio/b/examples", "ram://b/examples"):
        tf.io.gfile.makedirs(f"{output}/Split-train")
        with tf.io.gfile.GFile(f"{output}/Split-train/shard-3", "w") as file:
            file.write("half")
        entrypoint._empty(output)
        assert not tf.io.gfile.exists(f"{output}/Split-train/shard-3")
        entrypoint._empty(output)  # also if there is nothing
    assert list((tmp_path / "minio" / "b" / "examples").iterdir()) == []


def test_arguments_of_beam_are_handed_on() -> None:
    options, beam_arguments = entrypoint._parser().parse_known_args(
        [
            *("--executor_class_path", GATE, "--json_serialized_invocation_args", "{}"),
            *("--json_serialized_inputs_spec_args", "{}", "--runner=DataflowRunner", "--project", "p"),
            *("--code_fingerprint", "0", "--keep_remote", "--approve_nothing"),
        ]
    )
    assert beam_arguments == ["--runner=DataflowRunner", "--project", "p", "--approve_nothing"]
    assert options.keep_remote
    assert options.finished_steps is None


def test_what_a_worker_of_beam_raised_is_said_in_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    error = RuntimeError("Traceback (most recent call last):\ncomponents.errors.DataRejected: No pictures.")
    assert entrypoint._report(error) == DataRejected.exit_status
    assert capsys.readouterr().err == "\nNo pictures.\n"


def test_a_full_disk_of_the_pod(capsys: pytest.CaptureFixture[str]) -> None:
    """The cures of a local run, such as catsdogs clean, do not help in a pod."""
    with pytest.raises(OSError) as caught, Path("/dev/full").open("w", buffering=1) as file:
        file.write("anything\n")
    assert entrypoint._report(caught.value) == 1
    assert capsys.readouterr().err == (
        "\nThere is no space left: give the volume with the state more space if the file lies there, and "
        "else the nodes, as the pod's own files (ephemeral storage) lie on their disks.\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded", "/state/catsdogs/checkpoints/w.h5"),
        OSError(errno.ENOSPC, "No space left on device", "/state/catsdogs/checkpoints/w.h5"),
    ],
)
def test_a_full_volume_behind_another_error(error: OSError, capsys: pytest.CaptureFixture[str]) -> None:
    outer = RuntimeError("The bundle failed")
    outer.__cause__ = error
    assert entrypoint._report(outer) == 1
    assert "There is no space left for /state/catsdogs/checkpoints/w.h5: give" in capsys.readouterr().err


def test_a_full_disk_that_a_library_met(capsys: pytest.CaptureFixture[str]) -> None:
    """TensorFlow's errors have no number."""
    assert entrypoint._report(RuntimeError("/minio/b/x; No space left on device")) == 1
    assert "There is no space left: give the volume" in capsys.readouterr().err


def test_the_entry_point_runs_no_code_but_what_the_image_is_held_to() -> None:
    """What is imported when TFX is not needed, other than packages without code."""
    program = (
        "import sys; from pipelines.kubeflow.container import entrypoint, look; "
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
    held = {name for name in ours if name.startswith(tuple(f"{covered}." for covered in entrypoint.CODE))}
    assert ours - held == {"pipelines.kubeflow", "pipelines.kubeflow.container"}


def test_the_file_for_the_launcher_is_whole(cluster: Cluster, statistics: Artifact) -> None:
    """In the old place too, which older launchers read."""
    finish_earlier(cluster, statistics, {"blessed": 1.0})
    given = message(cluster, statistics)
    given["outputs"]["outputFile"] = str(cluster.folder / "tmp" / "kfp_outputs" / "output_metadata.json")
    cluster.start(GATE, given, SPEC, *arguments(cluster))
    assert json.loads(Path(given["outputs"]["outputFile"]).read_text())["artifacts"].keys() == {"verdict"}
    assert len(list(Path(given["outputs"]["outputFile"]).parent.iterdir())) == 1
