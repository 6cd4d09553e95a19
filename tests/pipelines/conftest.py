from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.local.events import Ended, Event, Finished, Planned, State
from pipelines.local.summary import Outcome
from pipelines.settings import Settings, load

TINY = Path(__file__).parent / "local"


@dataclass
class Ran:
    """What a run in this process told."""

    run_id: str
    settings: Settings
    events: list[Event]

    @property
    def states(self) -> dict[str, State]:
        """Where each step ended, resolvers left out."""
        planned = next(event for event in self.events if isinstance(event, Planned))
        ended = {event.step: event.state for event in self.events if isinstance(event, Ended)}
        states = {**planned.steps, **ended}
        del states["Baseline"]
        return states

    @property
    def outcome(self) -> Outcome:
        """What came out."""
        return next(event.outcome for event in self.events if isinstance(event, Finished))


class TinyRuns:
    """Runs the tiny pipeline in this process, with the runner that the child process uses, under one root."""

    def __init__(self, output_root: Path) -> None:
        self.root = output_root
        self.count = 0

    def __call__(
        self,
        *overrides: str,
        from_step: str | None = None,
        to_step: str | None = None,
        again: str | None = None,
        events: list[Event] | None = None,
    ) -> Ran:
        """Runs once; `events` still holds what was told when the run raises."""
        from pipelines.local.runner import ReportingRunner

        self.count += 1
        run_id = f"2026-11-22T05-10-{self.count:02}"
        settings = load(overrides=[f"output_root={self.root}", *overrides])
        (settings.runs_dir / run_id / "logs").mkdir(parents=True)
        told: list[Event] = [] if events is None else events
        runner = ReportingRunner(
            run_id,
            time.time(),
            told.append,
            lambda *_: None,
            from_step=from_step,
            to_step=to_step,
            again=again,
        )
        runner.run(importlib.import_module("tiny_pipeline").build(settings))
        return Ran(run_id, settings, told)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ran]]:
    """`tiny(*overrides, from_step=…, to_step=…)`: see `TinyRuns`. Imports TFX once in a test session."""
    monkeypatch.syspath_prepend(str(TINY))
    yield TinyRuns(tmp_path / "output")
    sys.modules.pop("tiny_pipeline", None)
