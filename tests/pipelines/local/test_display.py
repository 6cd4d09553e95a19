import io

import pytest
from rich.console import Console

from pipelines.local import display
from pipelines.local.board import Board
from pipelines.local.display import Display, LiveDisplay, PlainDisplay, for_console
from pipelines.local.events import Ended, Event, Planned, Progress, Started, State

STEPS = {"Ingest": State.REUSED, "Train": State.WAITING, "Judge": State.WAITING, "Push": State.WAITING}
STORY: list[Event] = [
    Planned(STEPS),
    Started("Train"),
    Progress("epoch 1 of 2"),
    Progress("epoch 2 of 2"),
    Ended("Train", State.DONE, 65.0),
    Started("Judge"),
    Ended("Judge", State.CACHED, 0.1),
    Started("Push"),
    Ended("Push", State.FAILED, 0.2),
]


def _tell(shown: Display, board: Board) -> None:
    with shown:
        for event in STORY:
            board.apply(event)
            shown.show(event)


def test_without_a_terminal_every_change_is_a_line() -> None:
    out, board = io.StringIO(), Board()
    _tell(for_console(Console(file=out), board), board)
    assert out.getvalue().splitlines() == [
        "Loading TensorFlow and TFX…",
        "[1/4] Ingest: reused",
        "[2/4] Train: running",
        "[2/4] Train: done in 1 min 05 s",
        "[3/4] Judge: running",
        "[3/4] Judge: cached in 0.1 s",
        "[4/4] Push: running",
        "[4/4] Push: failed in 0.2 s",
    ]


def test_without_a_terminal_progress_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    out, board = io.StringIO(), Board()
    monkeypatch.setattr(display, "PLAIN_INTERVAL", 0.0)
    _tell(PlainDisplay(Console(file=out), board), board)
    assert "[2/4] Train: epoch 1 of 2" in out.getvalue()


def test_on_a_terminal_there_is_one_line_a_step() -> None:
    out, board = io.StringIO(), Board()
    shown = for_console(Console(file=out, force_terminal=True, width=100), board)
    assert isinstance(shown, LiveDisplay)
    _tell(shown, board)
    last_frame = Console(file=io.StringIO(), width=100, record=True)
    last_frame.print(shown._table())
    assert [line.rstrip() for line in last_frame.export_text().splitlines()] == [
        "✓ Ingest reused",
        "✓ Train  done   1 min 05 s epoch 2 of 2",
        "✓ Judge  cached      0.1 s",
        "✗ Push   failed      0.2 s",
    ]


def test_on_a_terminal_the_long_import_is_explained() -> None:
    out = io.StringIO()
    with LiveDisplay(Console(file=out, force_terminal=True, width=100), Board()):
        pass
    assert "Loading TensorFlow and TFX…" in out.getvalue()


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    def codes() -> str:
        out, board = io.StringIO(), Board()
        _tell(LiveDisplay(Console(file=out, force_terminal=True, width=100), board), board)
        return out.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m" in codes()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in codes()


def test_the_board_closes_the_step_that_was_at_work() -> None:
    board = Board()
    for event in STORY[:3]:
        board.apply(event)
    board.end(State.STOPPED)
    assert board.last(State.STOPPED) == "Train"
    assert board.steps()["Train"].state == "stopped"
    assert board.steps()["Judge"].seconds is None
    assert board.position("Train") == 2
