import json
import time
from pathlib import Path

import pytest

from pipelines.runs.run_record import (
    PushOutcome,
    RunOutcome,
    RunRecord,
    ServingCheckOutcome,
    StepRecord,
    StepState,
    read_record,
)

# Written by an earlier version at the end of a run.
OLD = """{
  "run_id": "2026-11-22T05-10-33", "state": "refused", "exit_status": 3, "seconds": 64.4,
  "steps": {"Trainer": {"state": "done", "seconds": 25.2}, "Pusher": {"state": "waiting", "seconds": null}},
  "outcome": {
    "metrics": {"accuracy": 0.988, "examples": 1000.0}, "intervals": {"accuracy": [0.97, 0.99]},
    "blessed": true, "sentence": "Blessed.", "reasons": [], "overridden": false, "report": "/r",
    "push": {"version": "7", "path": "/m/7", "earlier": true, "missing": true},
    "reached_pusher": true, "not_pushed": null,
    "check": {"passed": true, "problems": [], "server": "it", "images": 32, "largest_difference": NaN,
              "p95_ms": {"REST": 11.8}}
  },
  "message": null
}"""


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (RunOutcome(blessed=True, push=PushOutcome("7", "/m/7")), 0),
        (RunOutcome(blessed=True, push=PushOutcome("7", "/m/7", already_pushed=True)), 0),
        (RunOutcome(blessed=True, push=PushOutcome("7", "/m/7", no_longer_served=True), pusher_ran=True), 3),
        (RunOutcome(blessed=False, pusher_ran=True), 3),
        (RunOutcome(blessed=True, pusher_ran=True), 3),
        (RunOutcome(blessed=False), 3),
        (RunOutcome(blessed=True, check=ServingCheckOutcome(passed=False)), 3),
        (RunOutcome(blessed=True, check=ServingCheckOutcome(passed=True)), 0),
        (
            RunOutcome(
                blessed=True,
                check=ServingCheckOutcome(passed=True),
                push=PushOutcome("7", "/m/7"),
                pusher_ran=True,
            ),
            0,
        ),
        (
            RunOutcome(
                blessed=True,
                check=ServingCheckOutcome(passed=True),
                pusher_ran=True,
                not_pushed_reason="Why.",
            ),
            3,
        ),
        (RunOutcome(blessed=True), 0),
        (RunOutcome(), 0),
    ],
)
def test_the_exit_status_depends_on_the_verdict_the_check_and_the_push(
    outcome: RunOutcome, status: int
) -> None:
    assert outcome.exit_status == status


@pytest.mark.parametrize(
    "record",
    [
        RunRecord(run_id="2026-11-22T05-10-33"),
        RunRecord(
            run_id="2026-11-22T05-10-33",
            state="done",
            exit_status=0,
            seconds=12.5,
            steps={
                "Trainer": StepRecord(state=StepState.DONE, seconds=9.0, started=7.5, text="epoch\n2 of 2")
            },
            outcome=RunOutcome(
                {"accuracy": 0.9, "loss": float("inf")},
                {"accuracy": (0.8, 0.95)},
                push=PushOutcome("7", "/m/7"),
            ),
        ),
    ],
)
def test_a_record_is_written_atomically_and_read_back_unchanged(record: RunRecord, tmp_path: Path) -> None:
    record.write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]
    assert read_record(tmp_path) == record
    assert "\n" not in record.model_dump_json()  # the worker sends it as one line


def test_a_summary_json_of_an_earlier_version_is_read_as_a_run_record(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(OLD)
    record = read_record(tmp_path)
    assert (record.state, record.exit_status, record.seconds) == ("refused", 3, 64.4)
    assert {name: step.state for name, step in record.steps.items()} == {
        "Trainer": StepState.DONE,
        "Pusher": StepState.WAITING,
    }
    assert record.outcome is not None
    assert record.outcome.push == PushOutcome("7", "/m/7", already_pushed=True, no_longer_served=True)
    assert record.outcome.intervals == {"accuracy": (0.97, 0.99)}
    assert record.outcome.check is not None
    assert (record.outcome.check.images, record.outcome.check.p95_ms) == (32, {"REST": 11.8})
    assert record.outcome.pusher_ran
    assert json.loads(record.model_dump_json()).keys() > json.loads(OLD).keys()


@pytest.mark.parametrize("content", [None, "", '{"run_id": '])
def test_a_run_without_a_readable_record_is_running(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert read_record(tmp_path) == RunRecord(run_id=tmp_path.name)


@pytest.mark.parametrize(
    ("run_id", "started"),
    [
        ("2026-11-22T05-10-33Z", "2026-11-22T07:10:33+02:00"),
        ("2026-11-22T05-10-33", "2026-11-22T05:10:33+02:00"),  # by an earlier version, in local time
    ],
)
def test_the_start_is_in_local_time(run_id: str, started: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Africa/Cairo")
    time.tzset()
    try:
        assert RunRecord(run_id=run_id).started.isoformat() == started
    finally:
        monkeypatch.undo()
        time.tzset()
