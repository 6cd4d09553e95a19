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

from components.errors import InputError, PipelineError
from pipelines.kubeflow import watch
from pipelines.kubeflow.watch import task_statuses
from pipelines.kubeflow.workflow import listed_nodes
from tests.pipelines.kubeflow.kfp_server import (
    KfpServer,
    Response,
    compress,
    listed,
    node,
    read_workflow,
    run_status,
)
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


# Why a run failed


LAUNCHER = """
E1122 08:01:50.231442    24 launcher_v2.go:742] Component failed to execute successfully: exit status {status}
I1122 08:01:50.240020      24 launcher_v2.go:221] publish success.
F1122 08:01:50.341107      24 main.go:61] failed to execute component: exit status {status}
time=2026-11-22T08:01:50.350Z level=INFO msg="sub-process exited" argo=true error=<nil>
Error: exit status 1
"""
SENTENCE = "The folder /data holds no images."
DRIVER_LOG = "F1122 08:00:59.000000 1 main.go:80] bucket mlpipelin not found\nError: exit status 1\n"


def fail(server: KfpServer, name: str, *, has_workflow: bool = True, log: str = "") -> None:
    """Lets a run end as the workflow of this name."""
    workflow = read_workflow(name)
    server.workflow = workflow if has_workflow else None
    server.progress = [run_status("FAILED", *listed(workflow), finished_at=at(200))]
    pods = [one for one in workflow["status"]["nodes"].values() if one["type"] == "Pod"]
    pod = f"catsdogs-x7k2p-{pods[-1]['templateName']}-{pods[-1]['id'].rpartition('-')[2]}"
    server.logs = {pod: log} if log else {}


def test_the_last_line_of_a_failed_step_is_its_own(submit: Submit, server: KfpServer) -> None:
    log = "\n".join([*map(str, range(50)), "", SENTENCE, LAUNCHER.format(status=2)])
    fail(server, "step_failed", log=log)
    status, shown = submit(wait=True)
    assert status == 1
    lines = shown.splitlines()
    start = next(number for number, line in enumerate(lines) if "ImageExampleGen failed" in line)
    assert [line.strip() for line in lines[start + 1 : start + 13]] == [*map(str, range(39, 50)), SENTENCE]
    pod = next(iter(server.logs))
    assert f" --namespace team-a --container main {pod}" in lines[start + 13]
    assert server.runs[0]["run_id"] in lines[-1]


def test_what_the_launcher_says_is_shown_where_the_step_said_nothing(
    submit: Submit, server: KfpServer
) -> None:
    fail(server, "step_failed", log=LAUNCHER.format(status=1))
    assert "failed to execute component" in submit(wait=True)[1]


@pytest.mark.parametrize(
    ("workflow", "named", "reason"),
    [
        ("driver_failed", "driver, which prepares ImageExampleGen", "exit code 1"),
        ("root_driver_failed", "driver, which prepares the run", 'serviceaccount "trainer" not found'),
    ],
)
def test_a_failed_driver_is_named_with_its_log(
    submit: Submit, server: KfpServer, workflow: str, named: str, reason: str
) -> None:
    fail(server, workflow, log=DRIVER_LOG)
    status, shown = submit(wait=True)
    assert status == 1
    [line] = [line for line in shown.splitlines() if named in line]
    assert reason in line
    assert "bucket mlpipelin not found" in shown
    assert next(iter(server.logs)) in shown
    assert "running" not in shown


@pytest.mark.parametrize(
    ("workflow", "named"),
    [
        ("step_failed", "The task ImageExampleGen failed"),
        ("driver_failed", "driver, which prepares ImageExampleGen, failed"),
        ("root_driver_failed", "driver, which prepares the run, failed"),
    ],
)
def test_without_a_workflow_the_list_of_tasks_names_what_failed(
    submit: Submit, server: KfpServer, workflow: str, named: str
) -> None:
    fail(server, workflow, has_workflow=False)
    status, shown = submit(wait=True)
    assert status == 1
    assert named in shown
    assert "kubectl logs --namespace kubeflow --container main --selector pipeline/runid=" in shown


@pytest.mark.parametrize(
    "message",
    [
        "main: Error (exit code 143)",
        "pod deleted",
        "Terminated due to imminent node shutdown.",
    ],
)
def test_a_deleted_pod_is_not_a_failed_step(submit: Submit, server: KfpServer, message: str) -> None:
    fail(server, "pod_deleted", log="epoch 3")
    _set_message(server, "main: Error (exit code 143)", message)
    status, shown = submit(wait=True)
    assert status == 1
    [line] = [line for line in shown.splitlines() if message in line]
    assert "pod of Trainer was deleted" in line
    assert "Trainer failed" not in shown.replace("Trainer: failed", "")
    assert "kubectl logs" not in shown


def test_without_default_retries_the_last_attempt_counts(submit: Submit, server: KfpServer) -> None:
    fail(server, "step_failed_2_16")
    shown = submit(wait=True)[1]
    assert "ImageExampleGen failed: main: OOMKilled (exit code 137)" in shown
    assert "memory_limit" in shown


def test_a_failure_before_argo_ran_the_pipeline_again_does_not_count(
    submit: Submit, server: KfpServer
) -> None:
    fail(server, "run_again")
    assert server.workflow
    for one in server.workflow["status"]["nodes"].values():
        if ".root(1).Trainer" in one["name"] and "executor" in one["name"]:
            one |= {"phase": "Failed", "message": "main: Error (exit code 1)"}
    shown = submit(wait=True)[1]
    assert "The task Trainer failed" in shown
    assert "deleted" not in shown


def _set_message(server: KfpServer, before: str, message: str) -> None:
    assert server.workflow
    for one in server.workflow["status"]["nodes"].values():
        if one.get("message") == before:
            one["message"] = message


def test_texts_of_the_server_are_printable(submit: Submit, server: KfpServer) -> None:
    fail(server, "step_failed", log="no images in [/data]\x9b1A")
    _set_message(server, "main: Error (exit code 1)", "[/x] \x1b[2J\n OOM")
    _, shown = submit(wait=True)
    assert r"failed: [/x] \x1b[2J OOM" in shown
    assert r"no images in [/data]\x9b1A" in shown
    assert not {"\x1b", "\x9b"} & set(shown)


def test_a_terminated_run_is_no_failed_step(submit: Submit, server: KfpServer) -> None:
    fail(server, "step_failed")
    server.progress[0]["state_history"] = [{"state": "RUNNING"}, {"state": "CANCELING"}, {"state": "FAILED"}]
    status, shown = submit(wait=True)
    assert status == 1
    assert "terminated" in shown
    assert "failed" not in shown


@pytest.mark.parametrize("workflow", [{}, {"metadata": {"name": "x"}, "status": {"compressedNodes": "?"}}])
def test_a_workflow_that_cannot_be_read_is_passed_over(
    submit: Submit, server: KfpServer, workflow: dict[str, object]
) -> None:
    fail(server, "step_failed")
    server.workflow = workflow
    assert "ImageExampleGen failed" in submit(wait=True)[1]


def test_a_log_that_cannot_be_read_is_passed_over(submit: Submit, server: KfpServer) -> None:
    fail(server, "step_failed", log="\udcff\udcfe")  # bytes that are no UTF-8
    status, shown = submit(wait=True)
    assert status == 1
    assert "ImageExampleGen failed" in shown


# Submitting again


@pytest.mark.parametrize(
    ("workflow", "log", "runs"),
    [
        ("pod_deleted", "", 3),
        ("driver_failed", DRIVER_LOG, 3),
        ("step_failed", SENTENCE + LAUNCHER.format(status=1), 3),
        ("step_failed", SENTENCE + LAUNCHER.format(status=2), 1),  # settings
        ("step_failed", SENTENCE + LAUNCHER.format(status=4), 1),  # data
        ("step_failed", LAUNCHER.format(status=1).replace("exit status 1", "signal: killed"), 1),
        ("step_failed_2_16", "", 1),  # out of memory
    ],
)
def test_a_failure_that_may_not_occur_again_is_submitted_again(
    submit: Submit, server: KfpServer, workflow: str, log: str, runs: int
) -> None:
    fail(server, workflow, log=log)
    status, shown = submit(wait=True, resubmit=2)
    assert (status, len(server.runs)) == (1, runs)
    assert ("(2 of 2)" in shown) == (runs == 3)


def test_submitting_again_ends_with_success(submit: Submit, server: KfpServer) -> None:
    fail(server, "pod_deleted")
    server.progress += [{"state": "SUCCEEDED"}]
    status, _ = submit(wait=True, resubmit=5)
    assert (status, len(server.runs)) == (0, 2)
    assert server.runs[0]["pipeline_version_reference"] == server.runs[1]["pipeline_version_reference"]


def test_a_terminated_run_is_not_submitted_again(submit: Submit, server: KfpServer) -> None:
    fail(server, "pod_deleted")
    server.progress[0]["state_history"] = [{"state": "CANCELING"}]
    assert submit(wait=True, resubmit=2)[0] == 1
    assert len(server.runs) == 1


def test_submitting_again_needs_waiting(submit: Submit, server: KfpServer) -> None:
    with pytest.raises(InputError, match="--wait"):
        submit(resubmit=1)
    assert server.requests == []


# What the Workflow adds

UNSCHEDULABLE = "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


@pytest.mark.parametrize("has_workflow", [True, False])
def test_a_run_that_succeeded_has_no_stopped_tasks(
    submit: Submit, server: KfpServer, has_workflow: bool
) -> None:
    """KFP's list no longer changes when Argo compresses the nodes."""
    whole, frozen = read_workflow("succeeded"), listed(read_workflow("unschedulable"))
    server.progress = [run_status("RUNNING", *frozen), run_status("SUCCEEDED", *frozen)]
    server.workflow = compress(whole) if has_workflow else None
    status, shown = submit(wait=True)
    assert status == 0
    assert not {"stopped", "skipped", "failed"} & set(shown.split())
    assert ("Trainer: done in 3 min 49 s" in shown) == has_workflow
    assert ("Trainer: done (the server" in shown) == (not has_workflow)


def test_a_list_that_no_longer_changes_is_recognised_while_the_run_goes_on(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_UNCHANGED", 0.0)
    frozen = listed(read_workflow("unschedulable"))
    server.progress = [*[run_status("RUNNING", *frozen)] * 5, run_status("SUCCEEDED", *frozen)]
    server.workflow = compress(read_workflow("succeeded"))
    _, shown = submit(wait=True)
    assert shown.count("1 MiB") == 1
    assert shown.count("Pusher: done") == 1


@pytest.mark.parametrize(
    ("message", "is_told"),
    [
        (UNSCHEDULABLE, True),
        ("PodInitializing", False),
    ],
)
def test_a_pod_that_does_not_start_is_named_once(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch, message: str, is_told: bool
) -> None:
    monkeypatch.setattr(watch, "_UNCHANGED", 0.0)
    server.workflow = read_workflow("unschedulable")
    _set_message(server, UNSCHEDULABLE, message)
    waiting = run_status("RUNNING", *listed(server.workflow))
    server.progress = [*[waiting] * 5, {"state": "SUCCEEDED"}]
    shown = submit(wait=True)[1]
    assert shown.count(f"Trainer does not start: {message}") == is_told


@pytest.mark.parametrize("nodes", [[], ROOT])
def test_a_run_without_pods_is_named_once(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, object]]
) -> None:
    monkeypatch.setattr(watch, "_UNCHANGED", 0.0)
    server.progress = [*[run_status("PENDING", *nodes)] * 5, {"state": "SUCCEEDED"}]
    shown = submit(wait=True)[1]
    assert shown.count("kubectl describe workflow --namespace kubeflow") == (not nodes)


@pytest.mark.parametrize(
    ("state", "named"), [("FAILED", "failed"), ("CANCELED", "terminated"), ("SKIPPED", "skipped")]
)
def test_every_end_but_success_gives_1(submit: Submit, server: KfpServer, state: str, named: str) -> None:
    server.progress = [{"state": "RUNNING"}, {"state": state}]
    status, shown = submit(wait=True)
    assert status == 1
    assert named in shown.splitlines()[-1]


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
        return SimpleNamespace(**{**one, **times})

    details = SimpleNamespace(task_details=[read(one) for one in nodes]) if nodes else None
    run = SimpleNamespace(state=state, run_details=details)
    return [step.state for step in task_statuses(listed_nodes(run), STEPS, state)]


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
        (  # the second time has only reached the driver
            "RUNNING",
            [
                *ran("Trainer", 15, 20, "FAILED"),
                node("Pusher", "", at(20), at(20)),
                node("Trainer-driver", "RUNNING", at(60)),
            ],
            ["waiting", "running", "waiting"],
        ),
    ],
)
def test_the_states_of_steps(state: str, nodes: list[dict[str, object]], expected: list[str]) -> None:
    assert _states(state, *nodes) == expected


def test_after_argo_ran_the_pipeline_again_the_latest_nodes_count() -> None:
    nodes = listed(read_workflow("run_again"))
    assert _states("RUNNING", *nodes) == ["done"] * 3
    first = [one for one in nodes if str(one["start_time"]) < at(320)]
    assert _states("RUNNING", *first) == ["failed", "waiting", "waiting"]


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
