import io
import time

import pytest
from rich.console import Console

from pipelines.local import progress
from pipelines.local.progress import Display, LiveDisplay, PlainDisplay, create_display
from pipelines.runs.run_record import RunRecord, StepRecord, StepState


def _tell(shown: Display) -> None:
    steps = {name: StepRecord() for name in ("Ingest", "Train", "Judge", "Push")}
    record = RunRecord(run_id="1", steps=steps)

    def becomes(name: str, state: StepState, seconds: float | None = None, text: str = "") -> None:
        step = record.steps[name]
        step.state, step.seconds, step.started = state, seconds, time.time()
        step.text = text or step.text
        shown.show(record.model_copy(deep=True))

    with shown:
        becomes("Ingest", StepState.REUSED)
        becomes("Train", StepState.RUNNING)
        becomes("Train", StepState.RUNNING, text="epoch 1 of 2")
        becomes("Train", StepState.RUNNING, text="epoch 2 of 2")
        becomes("Train", StepState.DONE, 65.0)
        becomes("Judge", StepState.RUNNING)
        becomes("Judge", StepState.CACHED, 0.1)
        becomes("Push", StepState.RUNNING)
        becomes("Push", StepState.FAILED, 0.2)


def test_without_a_terminal_each_change_prints_a_line() -> None:
    out = io.StringIO()
    _tell(create_display(Console(file=out)))
    assert out.getvalue().splitlines()[1:] == [
        "[1/4] Ingest: reused",
        "[2/4] Train: running",
        "[2/4] Train: done in 1 min 05 s",
        "[3/4] Judge: running",
        "[3/4] Judge: cached in 0.1 s",
        "[4/4] Push: running",
        "[4/4] Push: failed in 0.2 s",
    ]


def test_without_a_terminal_progress_is_printed_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "PROGRESS_INTERVAL_SECONDS", 0.0)
    _tell(PlainDisplay(Console(file=out)))
    assert "[2/4] Train: epoch 1 of 2" in out.getvalue()


def test_on_a_terminal_each_step_has_one_line() -> None:
    out = io.StringIO()
    shown = create_display(Console(file=out, force_terminal=True, width=100))
    assert isinstance(shown, LiveDisplay)
    _tell(shown)
    last_frame = Console(file=io.StringIO(), width=100, record=True)
    last_frame.print(shown._table())
    assert [line.rstrip() for line in last_frame.export_text().splitlines()] == [
        "✓ Ingest reused",
        "✓ Train  done   1 min 05 s epoch 2 of 2",
        "✓ Judge  cached      0.1 s",
        "✗ Push   failed      0.2 s",
    ]


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    def codes() -> str:
        out = io.StringIO()
        _tell(LiveDisplay(Console(file=out, force_terminal=True, width=100)))
        return out.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m" in codes()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in codes()
