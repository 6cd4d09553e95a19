import json
from pathlib import Path

import pytest

from pipelines.runs.run_record import Check, Outcome, Push, RunRecord, State, Step, read

# As the version before wrote it, at the end of a run.
OLD = """{
  "run_id": "2026-11-22T05-10-33", "state": "refused", "exit_status": 3, "seconds": 64.4,
  "steps": {"Trainer": {"state": "done", "seconds": 25.2}, "Pusher": {"state": "waiting", "seconds": null}},
  "outcome": {
    "metrics": {"accuracy": 0.988, "examples": 1000.0}, "intervals": {"accuracy": [0.97, 0.99]},
    "blessed": true, "sentence": "Blessed.", "reasons": [], "overridden": false, "report": "/r",
    "push": {"version": "7", "path": "/m/7", "earlier": true, "missing": true},
    "reached_pusher": true, "not_pushed": null,
    "check": {"passed": true, "problems": [], "server": "it", "pictures": 32, "largest_difference": NaN,
              "p95_ms": {"REST": 11.8}}
  },
  "message": null
}"""


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome(blessed=True, push=Push("7", "/m/7")), 0),
        (Outcome(blessed=True, push=Push("7", "/m/7", earlier=True)), 0),
        (Outcome(blessed=True, push=Push("7", "/m/7", missing=True), reached_pusher=True), 3),
        (Outcome(blessed=False, reached_pusher=True), 3),
        (Outcome(blessed=True, reached_pusher=True), 3),
        (Outcome(blessed=False), 3),
        (Outcome(blessed=True, check=Check(passed=False)), 3),
        (Outcome(blessed=True, check=Check(passed=True)), 0),
        (Outcome(blessed=True, check=Check(passed=True), push=Push("7", "/m/7"), reached_pusher=True), 0),
        (Outcome(blessed=True, check=Check(passed=True), reached_pusher=True, not_pushed="Why."), 3),
        (Outcome(blessed=True), 0),
        (Outcome(), 0),
    ],
)
def test_the_exit_status_follows_from_what_came_out(outcome: Outcome, status: int) -> None:
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
            steps={"Trainer": Step(state=State.DONE, seconds=9.0, started=7.5, text="epoch\n2 of 2")},
            outcome=Outcome(
                {"accuracy": 0.9, "loss": float("inf")}, {"accuracy": (0.8, 0.95)}, push=Push("7", "/m/7")
            ),
        ),
    ],
)
def test_a_record_is_written_whole_and_comes_back_equal(record: RunRecord, tmp_path: Path) -> None:
    record.write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]
    assert read(tmp_path) == record
    assert "\n" not in record.model_dump_json()  # it is sent as one line


def test_the_file_of_the_version_before_is_a_record(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(OLD)
    record = read(tmp_path)
    assert (record.state, record.exit_status, record.seconds) == ("refused", 3, 64.4)
    assert {name: step.state for name, step in record.steps.items()} == {
        "Trainer": State.DONE,
        "Pusher": State.WAITING,
    }
    assert record.outcome is not None
    assert record.outcome.push == Push("7", "/m/7", earlier=True, missing=True)
    assert record.outcome.intervals == {"accuracy": (0.97, 0.99)}
    assert record.outcome.check is not None
    assert record.outcome.check.p95_ms == {"REST": 11.8}
    assert json.loads(record.model_dump_json()).keys() > json.loads(OLD).keys()


@pytest.mark.parametrize("content", [None, "", '{"run_id": '])
def test_a_run_without_a_readable_record_is_not_said_to_have_ended(
    content: str | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    assert read(tmp_path) == RunRecord(run_id=tmp_path.name)
