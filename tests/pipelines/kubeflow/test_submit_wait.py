from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from components.errors import PipelineError
from pipelines.kubeflow import submit as submitting
from pipelines.kubeflow import watch
from pipelines.kubeflow.login import Login
from pipelines.kubeflow.steps import Step, steps_of
from pipelines.local.run_record import State
from tests.pipelines.kubeflow.kfp_server import Answer, KfpServer, node, told
from tests.pipelines.kubeflow.small_package import STEPS

Submit = Callable[..., tuple[int, str]]

RUN = "GET /apis/v2beta1/runs/.*"


def at(seconds: int) -> str:
    return f"2026-11-22T08:{seconds // 60:02}:{seconds % 60:02}Z"


def ran(step: str, start: int, end: int, state: str = "SUCCEEDED") -> list[dict[str, object]]:
    """The nodes of a step whose pod ran."""
    return [
        node(f"{step}-driver", "SUCCEEDED", at(start - 3), at(start)),
        node(step, state, at(start), at(end)),
        node("executor", state, at(start), at(end)),
    ]


def cached(step: str, moment: int) -> list[dict[str, object]]:
    """The nodes of a step whose driver found an earlier result."""
    return [
        node(f"{step}-driver", "SUCCEEDED", at(moment - 3), at(moment)),
        node(step, "SUCCEEDED", at(moment), at(moment)),
        node("executor", "SKIPPED", at(moment), at(moment)),
    ]


ROOT = [node("root-driver", "SUCCEEDED", at(0), at(2)), node("root", "RUNNING", at(2))]


def test_waiting_shows_each_step_once_per_change_and_ends_with_0(submit: Submit, server: KfpServer) -> None:
    first, trainer = cached("ImageExampleGen", 10), node("Trainer", "RUNNING", at(15))
    server.progress = [
        {"state": "PENDING"},
        told("RUNNING", *ROOT),
        told("RUNNING", *ROOT, node("ImageExampleGen-driver", "RUNNING", at(7))),
        told("RUNNING", *ROOT, *first, node("Trainer-driver", "SUCCEEDED", at(11), at(15))),
        told("RUNNING", *ROOT, *first, trainer),
        told("RUNNING", *ROOT, *first, *ran("Trainer", 15, 140)),
        told("SUCCEEDED", *first, *ran("Trainer", 15, 140), *ran("Pusher", 150, 160), finished_at=at(165)),
    ]
    status, shown = submit(wait=True)
    assert status == 0
    assert shown.splitlines()[2:] == [
        "[1/3] ImageExampleGen: running",
        "[1/3] ImageExampleGen: cached",
        "[2/3] Trainer: running",
        "[2/3] Trainer: done in 2 min 05 s",
        "[3/3] Pusher: done in 10.0 s",
        "The run succeeded after 2 min 45 s.",
    ]


def test_a_failed_step_is_named_with_what_the_server_says_and_the_way_to_its_log(
    submit: Submit, server: KfpServer
) -> None:
    error = {"error": {"code": 2, "message": "OOMKilled:\n exit code 137"}}
    failed = node("Trainer", "FAILED", at(15), at(30), state_history=[{"state": "FAILED", **error}])
    server.progress = [
        told("FAILED", *ran("ImageExampleGen", 5, 9), failed, node("Pusher", "SKIPPED"), finished_at=at(31))
    ]
    status, shown = submit(wait=True, namespace="team-a")
    assert status == 1
    assert "The step Trainer failed: OOMKilled: exit code 137\n" in shown
    assert "The run ended as failed after 31.0 s." in shown
    run_id = server.runs[0]["run_id"]
    assert f"All of its log: {server.endpoint}/#/runs/details/{run_id}, or: kubectl logs" in shown
    assert f" --namespace team-a --selector pipeline/runid={run_id} --container main" in shown


def _child(number: int) -> dict[str, object]:
    return {"child_tasks": [{"pod_name": f"catsdogs-x7k2p-{number}"}]}


@pytest.mark.parametrize(
    ("children", "pod"),
    [
        ([node("executor", "FAILED", at(15), at(30))], "catsdogs-x7k2p-system-container-impl-11"),
        (
            [
                node(
                    "executor",
                    "FAILED",
                    at(15),
                    at(30),
                    child_tasks=[
                        {"pod_name": "catsdogs-x7k2p-21"},
                        {"pod_name": "catsdogs-x7k2p-22"},
                    ],
                ),
                node("executor(0)", "FAILED", at(15), at(20)),
                node("executor(1)", "FAILED", at(22), at(30)),
                node("executor", "FAILED", at(3), at(9), **_child(31)),  # of another step, at another time
            ],
            "catsdogs-x7k2p-retry-system-container-impl-22",
        ),
    ],
)
def test_the_end_of_a_failed_step_s_log_is_shown(
    submit: Submit, server: KfpServer, children: list[dict[str, object]], pod: str
) -> None:
    server.tokens = {"secret"}
    failed = node("Trainer", "FAILED", at(15), at(30), **_child(11))
    server.progress = [told("FAILED", *ran("ImageExampleGen", 5, 9), failed, *children)]
    server.logs = {
        pod: "\n".join([*map(str, range(50)), "", "The folder /data holds no pictures.", ""]),
        "catsdogs-x7k2p-retry-system-container-impl-21": "of the attempt before",
        "catsdogs-x7k2p-retry-system-container-impl-31": "of another step",
    }
    _, shown = submit(wait=True, token="secret")
    after = shown[shown.index("The step Trainer failed\n") :].splitlines()
    assert after[1:13] == [
        *(f"    {number}" for number in range(39, 50)),
        "    The folder /data holds no pictures.",
    ]
    assert after[13].startswith("The run ended as failed")


def test_a_log_that_is_not_there_any_more_is_passed_over(submit: Submit, server: KfpServer) -> None:
    server.progress = [told("FAILED", node("Trainer", "FAILED", at(15), at(30), **_child(11)))]
    _, shown = submit(wait=True)
    assert "The step Trainer failed\nThe run ended as failed" in shown
    assert [one.path for one in server.requests if one.path.endswith("/log")]


@pytest.mark.parametrize("missing", ["start_time", "end_time"])
@pytest.mark.parametrize("of", ["Trainer", "executor"])
def test_nodes_without_times_do_not_hide_the_failure(
    submit: Submit, server: KfpServer, of: str, missing: str
) -> None:
    attempts = node("executor", "FAILED", at(15), at(30), **_child(21))
    nodes = [node("Trainer", "FAILED", at(15), at(30), **_child(11)), attempts]
    del next(one for one in nodes if one["display_name"] == of)[missing]
    server.progress = [told("FAILED", *nodes)]
    server.logs = {"catsdogs-x7k2p-system-container-impl-11": "out of memory"}
    status, shown = submit(wait=True)
    assert status == 1
    assert "The step Trainer failed\n    out of memory\nThe run ended as failed" in shown


def test_a_log_that_is_no_text_is_passed_over(submit: Submit, server: KfpServer) -> None:
    server.progress = [told("FAILED", node("Trainer", "FAILED", at(15), at(30), **_child(11)))]
    server.logs = {"catsdogs-x7k2p-system-container-impl-11": "\udcff\udcfe"}  # bytes that are no UTF-8
    status, shown = submit(wait=True)
    assert status == 1
    assert "The step Trainer failed\nThe run ended as failed" in shown


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED"])
def test_every_end_but_success_gives_1(submit: Submit, server: KfpServer, state: str) -> None:
    server.progress = [{"state": "RUNNING"}, {"state": state}]
    status, shown = submit(wait=True)
    assert status == 1
    assert f"The run ended as {state.lower()}" in shown


def test_without_wait_the_run_is_not_asked_for(submit: Submit, server: KfpServer) -> None:
    submit()
    assert not [one for one in server.requests if re.fullmatch(RUN, f"{one.method} {one.path}")]


@pytest.mark.parametrize(
    "fault", [Answer(503, b"", "text/plain"), Answer(500, {"code": 13, "message": "busy"})]
)
def test_a_server_that_is_away_for_a_while_is_asked_again(
    submit: Submit, server: KfpServer, fault: Answer
) -> None:
    server.progress = [{"state": "RUNNING"}, {"state": "SUCCEEDED"}]
    server.faults = [(RUN, fault, 3)]
    status, shown = submit(wait=True)
    assert status == 0
    assert shown.count("No answer just now, trying again: ") == 1


def test_patience_ends(submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PATIENCE", 0.05)
    server.faults = [(RUN, Answer(502, b"", "text/plain"), 10_000)]
    with pytest.raises(PipelineError) as ended:
        submit(wait=True)
    assert str(ended.value).endswith(f"The run goes on in the cluster as {server.runs[0]['run_id']}.")


def test_a_token_that_expires_meanwhile_ends_the_waiting_and_says_so(
    submit: Submit, server: KfpServer
) -> None:
    server.tokens = {"short-lived"}
    server.progress = [{"state": "RUNNING"}]
    server.faults = [(RUN, Answer(200, {"state": "RUNNING"}), 1), (RUN, Answer(401, {"code": 16}), 1)]
    with pytest.raises(PipelineError) as ended:
        submit(wait=True, token="short-lived")
    assert "refuses the token (401): it may have expired; get a new one. The run goes on" in str(ended.value)


def test_a_run_that_was_deleted_ends_the_waiting(submit: Submit, server: KfpServer) -> None:
    server.faults = [(RUN, Answer(404, {"code": 5, "message": "Run 1 not found"}), 9)]
    with pytest.raises(PipelineError, match=r"refuses the request \(404\): Run 1 not found\."):
        submit(wait=True)


def test_ctrl_c_leaves_the_run_alone(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    server.progress = [{"state": "RUNNING"}]
    status, shown = submit(wait=True)
    assert status == 130
    assert (
        f"the run goes on in the cluster. To stop it: Terminate on {server.endpoint}/#/runs/details/" in shown
    )
    assert not [one for one in server.requests if "terminate" in one.path]


def test_on_a_terminal_the_steps_are_a_table(server: KfpServer, package: Path) -> None:
    server.progress = [
        told("RUNNING", *ROOT, *cached("ImageExampleGen", 10), node("Trainer", "RUNNING", at(15))),
        told("SUCCEEDED", *cached("ImageExampleGen", 10), *ran("Trainer", 15, 75), *ran("Pusher", 80, 90)),
    ]
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100, color_system=None)
    asked = submitting.Asked(package, Login(server.endpoint), wait=True)
    assert submitting.submit(asked, console) == 0
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue()).splitlines()[-4:]
    assert [line.split() for line in last[:3]] == [
        ["✓", "ImageExampleGen", "cached"],
        ["✓", "Trainer", "done", "1", "min", "00", "s"],
        ["✓", "Pusher", "done", "10.0", "s"],
    ]


# What nodes mean


def _run(state: str, *nodes: dict[str, object]) -> SimpleNamespace:
    def read(one: dict[str, object]) -> SimpleNamespace:
        times = {key: datetime.fromisoformat(str(one[key])) for key in ("start_time", "end_time")}
        return SimpleNamespace(**{"error": None, "state_history": None, **one, **times})

    details = SimpleNamespace(task_details=[read(one) for one in nodes]) if nodes else None
    return SimpleNamespace(state=state, run_details=details)


def _states(run: SimpleNamespace) -> list[State]:
    return [step.state for step in steps_of(run, STEPS)]


def test_before_the_workflow_starts_all_steps_wait() -> None:
    assert _states(_run("PENDING")) == [State.WAITING] * 3


def test_a_driver_at_work_is_a_step_at_work_and_a_failed_one_a_failed_step() -> None:
    assert _states(_run("RUNNING", node("ImageExampleGen-driver", "RUNNING", at(3))))[0] is State.RUNNING
    failed = _run("FAILED", node("ImageExampleGen-driver", "FAILED", at(3), at(4)))
    assert _states(failed) == [State.FAILED, State.SKIPPED, State.SKIPPED]


def test_a_quick_step_beside_a_cached_one_is_not_taken_for_cached() -> None:
    run = _run("RUNNING", *cached("ImageExampleGen", 10), *ran("Trainer", 9, 15))
    assert _states(run)[:2] == [State.CACHED, State.DONE]


def test_what_was_at_work_when_a_run_was_terminated_was_stopped() -> None:
    run = _run("CANCELED", *ran("ImageExampleGen", 3, 9), node("Trainer", "RUNNING", at(15)))
    assert _states(run) == [State.DONE, State.STOPPED, State.SKIPPED]


def test_elapsed_time_runs_on_and_never_backwards() -> None:
    began = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
    step = Step("Trainer", State.RUNNING, started=began)
    assert step.elapsed(began.replace(minute=2)) == 120
    assert step.elapsed(began.replace(hour=7)) == 0  # the server's clock is ahead
    assert Step("Trainer", State.WAITING).elapsed(began) is None


# The command


def command(package: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.cli", "submit", str(package), *arguments]


@pytest.mark.slow
def test_the_command_submits_waits_and_says_nothing_of_kfp_s(
    server: KfpServer, package: Path, tmp_path: Path
) -> None:
    server.tokens = {"s3cret"}
    environment = {**os.environ, "HOME": str(tmp_path), "CATSDOGS_KUBEFLOW_TOKEN": "s3cret"}
    extra = ("--param", "max_bad_fraction=0.05", "--run-name", "nightly")
    ended = subprocess.run(
        command(package, "--endpoint", server.endpoint, "--wait", *extra),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.split(" ", 1)[0] for line in ended.stdout.splitlines()] == [
        *("Uploaded", "Run", "[1/3]", "[2/3]", "[3/3]", "The")
    ]
    assert "s3cret" not in ended.stdout
    assert server.runs[0]["runtime_config"]["parameters"] == {"max_bad_fraction": 0.05}
    assert server.runs[0]["display_name"] == "nightly"


@pytest.mark.slow
def test_the_command_ends_in_one_sentence(server: KfpServer, package: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "KF_PIPELINES_ENDPOINT": server.endpoint}
    for arguments, status, sentence in (
        (["--experiment", "none"], 2, "There is no experiment 'none'. Valid are: Default."),
        (["--schedule", "0 3 * * *"], 2, "has five fields"),
        (["--endpoint", "http://127.0.0.1:1"], 1, "Cannot reach http://127.0.0.1:1 ("),
    ):
        ended = subprocess.run(
            command(package, *arguments),
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (ended.returncode, ended.stdout) == (status, "")
        assert sentence in ended.stderr
        assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_command_is_interrupted(server: KfpServer, package: Path, tmp_path: Path) -> None:
    server.progress = [{"state": "RUNNING"}]
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pipelines.cli",
            "submit",
            str(package),
            "--endpoint",
            server.endpoint,
            "--wait",
        ],
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        for _ in range(600):
            if any(re.fullmatch(RUN, f"{one.method} {one.path}") for one in server.requests):
                break
            time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        shown, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "the run goes on in the cluster. To stop it: Terminate on" in shown
    assert errors == ""


@pytest.mark.slow
def test_the_command_is_interrupted_before_there_is_a_run(
    server: KfpServer, package: Path, tmp_path: Path
) -> None:
    release = threading.Event()
    server.hold = release.wait
    with subprocess.Popen(
        command(package, "--endpoint", server.endpoint),
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        for _ in range(600):
            if server.requests:
                break
            time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
        release.set()
    assert child.returncode == 130
    assert errors == "Interrupted; the list of runs tells whether there is one already.\n"
    assert server.runs == []
