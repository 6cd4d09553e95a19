import json
from pathlib import Path

import pytest

from pipelines.local.summary import Check, Outcome, Push, Step, Summary


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
    assert outcome.state == ("refused" if status else "done")


def test_the_summary_is_written_whole(tmp_path: Path) -> None:
    summary = Summary(
        "2026-11-22T05-10-33", "done", 0, 12.5, {"Trainer": Step("done", 9.0)}, Outcome({"accuracy": 0.98})
    )
    summary.write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["steps"] == {"Trainer": {"state": "done", "seconds": 9.0}}
    assert written["outcome"]["metrics"] == {"accuracy": 0.98}
