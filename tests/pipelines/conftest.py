from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.local import run as local_run
from pipelines.runs.run_record import INTERRUPTED, Outcome, RunRecord, State
from pipelines.settings.loading import load
from pipelines.settings.tree import Settings

TINY = Path(__file__).parent / "local"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def catsdogs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`catsdogs(*arguments)`: exit status, stdout, stderr of the command, run in this process."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["catsdogs", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return call


@dataclass
class Ran:
    """What a run in this process left behind."""

    settings: Settings
    record: RunRecord

    @property
    def run_id(self) -> str:
        """Its name."""
        return self.record.run_id

    @property
    def states(self) -> dict[str, State]:
        """The state of each step, resolvers left out."""
        return {name: step.state for name, step in self.record.steps.items() if name != "Baseline"}

    @property
    def outcome(self) -> Outcome:
        """What came out."""
        assert self.record.outcome is not None
        return self.record.outcome


class TinyRuns:
    """Runs the tiny pipeline in this process, with the runner that the child process uses, under one root.

    Attributes:
        root: The output root.
        last: The newest run, also where it has raised.
    """

    def __init__(self, output_root: Path) -> None:
        self.root = output_root
        self.last: Ran
        self._count = 0

    def __call__(
        self,
        *overrides: str,
        from_step: str | None = None,
        to_step: str | None = None,
        again: str | None = None,
    ) -> Ran:
        """Runs once."""
        from pipelines.local.runner import ReportingRunner

        self._count += 1
        settings = load(overrides=[f"output_root={self.root}", *overrides])
        record = RunRecord(run_id=f"2026-11-22T05-10-{self._count:02}")
        self.last = Ran(settings, record)
        run_dir = settings.runs_dir / record.run_id
        (run_dir / "logs").mkdir(parents=True)
        runner = ReportingRunner(
            record,
            lambda: record.write(run_dir),
            lambda *_: None,
            from_step=from_step,
            to_step=to_step,
            again=again,
        )
        started, code = time.monotonic(), 1
        try:
            runner.run(importlib.import_module("tiny_pipeline").build(settings))
            code = 0
        except KeyboardInterrupt:
            code = INTERRUPTED
            raise
        finally:
            local_run._close(record, code, time.monotonic() - started)
            record.write(run_dir)
        return self.last


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ran]]:
    """`tiny(*overrides, from_step=…, to_step=…)`: see `TinyRuns`. Imports TFX once in a test session."""
    monkeypatch.syspath_prepend(str(TINY))
    yield TinyRuns(tmp_path / "output")
    sys.modules.pop("tiny_pipeline", None)
