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
from pipelines.runs.run_record import EXIT_INTERRUPTED, RunOutcome, RunRecord, StepState
from pipelines.settings.loading import load
from pipelines.settings.tree import Settings

TINY = Path(__file__).parent / "local"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def catsdogs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`catsdogs(*arguments)` runs the command in this process and returns exit status, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["catsdogs", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return call


@dataclass
class CompletedRun:
    """The settings and the record of a run in this process."""

    settings: Settings
    record: RunRecord

    @property
    def run_id(self) -> str:
        """The run id."""
        return self.record.run_id

    @property
    def states(self) -> dict[str, StepState]:
        """The state of each step except resolvers."""
        return {name: step.state for name, step in self.record.steps.items() if name != "Baseline"}

    @property
    def outcome(self) -> RunOutcome:
        """The outcome of the run."""
        assert self.record.outcome is not None
        return self.record.outcome


class TinyRuns:
    """Runs the tiny pipeline in this process with the worker's runner, in one output root.

    Attributes:
        root: The output root.
        last: The newest run, also if it raised an exception.
    """

    def __init__(self, output_root: Path) -> None:
        self.root = output_root
        self.last: CompletedRun
        self._count = 0

    def __call__(
        self,
        *overrides: str,
        from_node: str | None = None,
        to_node: str | None = None,
        base_run_id: str | None = None,
    ) -> CompletedRun:
        """Runs the pipeline once."""
        from pipelines.local.runner import ReportingRunner

        self._count += 1
        settings = load(overrides=[f"output_root={self.root}", *overrides])
        record = RunRecord(run_id=f"2026-11-22T05-10-{self._count:02}")
        self.last = CompletedRun(settings, record)
        run_dir = settings.runs_dir / record.run_id
        (run_dir / "logs").mkdir(parents=True)
        runner = ReportingRunner(
            record,
            lambda: record.write(run_dir),
            lambda *_: None,
            from_node=from_node,
            to_node=to_node,
            base_run_id=base_run_id,
        )
        started, code = time.monotonic(), 1
        try:
            runner.run(importlib.import_module("tiny_pipeline").build(settings))
            code = 0
        except KeyboardInterrupt:
            code = EXIT_INTERRUPTED
            raise
        finally:
            local_run.complete_record(record, code, time.monotonic() - started)
            record.write(run_dir)
        return self.last


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., CompletedRun]]:
    """`tiny(*overrides, from_node=…, to_node=…)` runs the tiny pipeline, see `TinyRuns`. Imports TFX once."""
    monkeypatch.syspath_prepend(str(TINY))
    yield TinyRuns(tmp_path / "output")
    sys.modules.pop("tiny_pipeline", None)
