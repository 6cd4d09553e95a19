from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.errors import PipelineError
from pipelines.kubeflow import watch
from pipelines.kubeflow.watch import task_statuses
from tests.pipelines.kubeflow.kfp_server import KfpServer, Response, node, run_status
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
        run_status("RUNNING", *ROOT),
        run_status("RUNNING", *ROOT, node("ImageExampleGen-driver", "RUNNING", at(7))),
        run_status("RUNNING", *ROOT, *first, node("Trainer-driver", "SUCCEEDED", at(11), at(15))),
        run_status("RUNNING", *ROOT, *first, trainer),
        run_status("RUNNING", *ROOT, *first, *ran("Trainer", 15, 140)),
        run_status(
            "SUCCEEDED", *first, *ran("Trainer", 15, 140), *ran("Pusher", 150, 160), finished_at=at(165)
        ),
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


def test_a_failed_task_is_printed_with_its_error_and_log_command(submit: Submit, server: KfpServer) -> None:
    error = {"error": {"code": 2, "message": "OOMKilled:\n exit code 137"}}
    failed = node("Trainer", "FAILED", at(15), at(30), state_history=[{"state": "FAILED", **error}])
    server.progress = [
        run_status(
            "FAILED", *ran("ImageExampleGen", 5, 9), failed, node("Pusher", "SKIPPED"), finished_at=at(31)
        )
    ]
    status, shown = submit(wait=True, namespace="team-a")
    assert status == 1
    assert "Trainer failed: OOMKilled: exit code 137\n" in shown
    run_id = server.runs[0]["run_id"]
    assert f"{server.endpoint}/#/runs/details/{run_id}" in shown
    assert f" --namespace team-a --selector pipeline/runid={run_id} --container main" in shown


def test_texts_of_the_server_are_printable(submit: Submit, server: KfpServer) -> None:
    error = {"error": {"code": 2, "message": "[/x] \x1b[2J"}}
    failed = node(
        "Trainer", "FAILED", at(15), at(30), **_child(11), state_history=[{"state": "FAILED", **error}]
    )
    server.progress = [run_status("FAILED", failed, finished_at=at(31))]
    server.logs = {POD: "no images in [/data]\x9b1A"}
    status, shown = submit(wait=True)
    assert status == 1
    assert r"Trainer failed: [/x] \x1b[2J" in shown
    assert r"no images in [/data]\x9b1A" in shown
    assert not {"\x1b", "\x9b"} & set(shown)


def _child(number: int) -> dict[str, object]:
    return {"child_tasks": [{"pod_name": f"catsdogs-x7k2p-{number}"}]}


FAILED = node("Trainer", "FAILED", at(15), at(30), **_child(11))
POD = "catsdogs-x7k2p-system-container-impl-11"
RETRIED = "catsdogs-x7k2p-retry-system-container-impl"
ATTEMPTS = {"child_tasks": [{"pod_name": "catsdogs-x7k2p-21"}, {"pod_name": "catsdogs-x7k2p-22"}]}


@pytest.mark.parametrize(
    ("nodes", "pod"),
    [
        ([FAILED, node("executor", "FAILED", at(15), at(30))], POD),
        (
            [
                FAILED,
                node("executor", "FAILED", at(15), at(30), **ATTEMPTS),
                node("executor", "FAILED", at(3), at(9), **_child(31)),  # of another step, at another time
            ],
            f"{RETRIED}-22",
        ),
        ([{**FAILED, "end_time": None}, node("executor", "FAILED", at(15), at(30), **_child(21))], POD),
        ([FAILED, {**node("executor", "FAILED", at(15), at(30), **_child(21)), "start_time": None}], POD),
        (
            [node("Trainer-driver", "FAILED", at(12), at(15), **_child(12)), node("Trainer", "")],
            "catsdogs-x7k2p-system-container-driver-12",
        ),
    ],
)
def test_the_end_of_a_failed_step_s_log_is_shown(
    submit: Submit, server: KfpServer, nodes: list[dict[str, object]], pod: str
) -> None:
    server.tokens = {"secret"}
    server.progress = [run_status("FAILED", *ran("ImageExampleGen", 5, 9), *nodes)]
    server.logs = {
        pod: "\n".join([*map(str, range(50)), "", "The folder /data holds no images.", ""]),
        f"{RETRIED}-21": "of the attempt before",
        f"{RETRIED}-31": "of another step",
    }
    status, shown = submit(wait=True, token="secret")
    assert status == 1
    lines = shown.splitlines()
    log = [line.strip() for line in lines[lines.index("The task Trainer failed") + 1 :][:12]]
    assert log == [*map(str, range(39, 50)), "The folder /data holds no images."]


@pytest.mark.parametrize("logs", [{}, {POD: "\udcff\udcfe"}])  # bytes that are no UTF-8
def test_a_log_that_cannot_be_read_is_passed_over(
    submit: Submit, server: KfpServer, logs: dict[str, str]
) -> None:
    server.progress, server.logs = [run_status("FAILED", FAILED)], logs
    status, shown = submit(wait=True)
    assert status == 1
    assert "Trainer failed" in shown
    assert [one.path for one in server.requests if one.path.endswith("/log")]


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED"])
def test_every_end_but_success_gives_1(submit: Submit, server: KfpServer, state: str) -> None:
    server.progress = [{"state": "RUNNING"}, {"state": state}]
    status, shown = submit(wait=True)
    assert status == 1
    assert state.lower() in shown


@pytest.mark.parametrize(
    "fault", [Response(503, b"", "text/plain"), Response(500, {"code": 13, "message": "busy"})]
)
def test_a_server_that_is_away_for_a_while_is_waited_for(
    submit: Submit, server: KfpServer, fault: Response
) -> None:
    server.progress = [{"state": "RUNNING"}, {"state": "SUCCEEDED"}]
    server.faults = [(RUN, fault, 3)]
    status, shown = submit(wait=True)
    assert status == 0
    assert shown.count(str(fault.status)) == 1


@pytest.mark.parametrize(
    ("response", "named"),
    [
        (Response(502, b"", "text/plain"), "502"),
        (Response(401, {"code": 16}), "401"),  # a token that has expired meanwhile
        (Response(404, {"code": 5, "message": "Run 1 not found"}), "Run 1 not found"),
    ],
)
def test_waiting_ends_when_the_server_stays_away_or_refuses(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch, response: Response, named: str
) -> None:
    monkeypatch.setattr(watch, "_RESPONSE_TIMEOUT", 0.05 if response.status == 502 else 900)
    server.faults = [(RUN, Response(200, {"state": "RUNNING"}), 1), (RUN, response, 10_000)]
    with pytest.raises(PipelineError, match=named) as ended:
        submit(wait=True)
    assert server.runs[0]["run_id"] in str(ended.value)


# What nodes mean


def _states(state: str, *nodes: dict[str, object]) -> list[str]:
    def read(one: dict[str, object]) -> SimpleNamespace:
        times = {key: datetime.fromisoformat(str(one[key])) for key in ("start_time", "end_time")}
        return SimpleNamespace(**{"error": None, "state_history": None, **one, **times})

    details = SimpleNamespace(task_details=[read(one) for one in nodes]) if nodes else None
    run = SimpleNamespace(state=state, run_details=details)
    return [step.state for step in task_statuses(run, STEPS)]


@pytest.mark.parametrize(
    ("state", "nodes", "expected"),
    [
        ("PENDING", [], ["waiting"] * 3),
        (
            "RUNNING",
            [node("ImageExampleGen-driver", "RUNNING", at(3))],
            ["running", "waiting", "waiting"],
        ),
        (
            "FAILED",
            # Argo omits the step's own node, which the server then lists without a state.
            [node("ImageExampleGen-driver", "FAILED", at(3), at(4)), node("ImageExampleGen", "")],
            ["failed", "skipped", "skipped"],
        ),
        (  # a quick step next to a cached one
            "RUNNING",
            [*cached("ImageExampleGen", 10), *ran("Trainer", 9, 15)],
            ["cached", "done", "waiting"],
        ),
        (
            "CANCELED",
            [*ran("ImageExampleGen", 3, 9), node("Trainer", "RUNNING", at(15))],
            ["done", "stopped", "skipped"],
        ),
        (  # Argo ran all of it again: the last one counts, wherever it stands
            "RUNNING",
            [node("Trainer", "RUNNING", at(60)), node("Trainer", "FAILED", at(15), at(20))],
            ["waiting", "running", "waiting"],
        ),
    ],
)
def test_the_states_of_steps(state: str, nodes: list[dict[str, object]], expected: list[str]) -> None:
    assert _states(state, *nodes) == expected


# The command


def command(package: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.cli", "submit", str(package), *arguments]


@pytest.mark.slow
def test_the_command_submits_and_waits_without_output_of_kfp(
    server: KfpServer, package: Path, tmp_path: Path
) -> None:
    server.tokens = {"s3cret"}
    environment = {**os.environ, "HOME": str(tmp_path), "CATSDOGS_KUBEFLOW_TOKEN": "s3cret"}
    extra = ("--param", "max_rejected_fraction=0.05", "--run-name", "nightly")
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
    assert server.runs[0]["runtime_config"]["parameters"] == {"max_rejected_fraction": 0.05}
    assert server.runs[0]["display_name"] == "nightly"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (["--schedule", "0 3 * * *"], 2, "0 0 3 * * *"),
        (["--endpoint", "http://127.0.0.1:1"], 1, "http://127.0.0.1:1"),
    ],
)
def test_the_command_ends_in_one_sentence(
    server: KfpServer, package: Path, tmp_path: Path, arguments: list[str], status: int, named: str
) -> None:
    ended = subprocess.run(
        command(package, *arguments),
        env={**os.environ, "HOME": str(tmp_path), "KF_PIPELINES_ENDPOINT": server.endpoint},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (status, "")
    assert named in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("is_waiting", [True, False])
def test_the_command_is_interrupted_and_leaves_the_run_alone(
    server: KfpServer, package: Path, tmp_path: Path, is_waiting: bool
) -> None:
    server.progress = [{"state": "RUNNING"}]
    release = threading.Event()
    if not is_waiting:
        server.hold = release.wait
    awaited = RUN if is_waiting else ".*"
    with subprocess.Popen(
        command(package, "--endpoint", server.endpoint, "--wait"),
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        for _ in range(600):
            if any(re.fullmatch(awaited, f"{one.method} {one.path}") for one in server.requests):
                break
            time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        shown, errors = child.communicate(timeout=30)
        release.set()
    assert child.returncode == 130
    if is_waiting:
        assert f"{server.endpoint}/#/runs/details/{server.runs[0]['run_id']}" in shown.splitlines()[-1]
        assert errors == ""
    else:
        assert errors.count("\n") == 1
        assert server.runs == []
    assert not [one for one in server.requests if "terminate" in one.path]
