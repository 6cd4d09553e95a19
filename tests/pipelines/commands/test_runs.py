"""Tests of `catsdogs runs`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines import cli
from pipelines.commands import runs
from pipelines.runs import lock
from pipelines.runs.run_folders import load_run_records
from pipelines.runs.run_record import PushOutcome, RunOutcome, RunRecord
from pipelines.settings.loading import load

COLUMNS = ["run", "took", "state", "accuracy", "auc", "loss", "verdict", "pushed"]


def listed(
    root: Path, *options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Returns the output of `catsdogs runs`."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["catsdogs", "runs", *options, "--set", f"output_root={root}"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("module", ["pipelines.runs.metadata", "pipelines.runs.run_folders"])
def test_runs_does_not_import_tensorflow(module: str) -> None:
    script = f"import sys, {module}; sys.exit('tensorflow' in sys.modules or 'tfx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.slow
def test_runs_lists_every_run(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed = tiny().outcome.push
    tiny()
    tiny("evaluation.min_accuracy=0.95")
    for fault in ("QualityGate:raise", "QualityGate:interrupt"):
        monkeypatch.setenv("TINY_FAULT", fault)
        with pytest.raises((ValueError, KeyboardInterrupt)):
            tiny("training.seed=1")
    found = json.loads(listed(tiny.root, "--json", monkeypatch=monkeypatch, capsys=capsys))
    # the lookup of the baseline is a step, too, which is never cached
    assert [(run["state"], run["cached"], run["steps"], run["verdict"], run["pushed"]) for run in found] == [
        ("interrupted", 2, 3, None, None),
        ("failed", 1, 3, None, None),
        ("refused", 2, 5, "refused", None),
        ("done", 4, 5, "blessed", pushed.version),
        ("done", 0, 5, "blessed", pushed.version),
    ]
    assert all(0 < run["seconds"] < 60 for run in found)
    assert found[0]["run_id"] == "2026-11-22T05-10-05"
    assert found[0]["started"].startswith("2026-11-22T05:10:05")

    table = listed(tiny.root, monkeypatch=monkeypatch, capsys=capsys).splitlines()
    assert table[0].split() == COLUMNS
    assert table[3].split()[0] == "2026-11-22T05-10-03"
    assert table[3].split()[-2:] == ["refused", "refused"]
    assert table[4].split()[-2:] == ["blessed", pushed.version]


def test_the_table_fits_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = RunOutcome(
        {"accuracy": 1.0, "auc": 0.99988, "loss": 0.01234},
        {"accuracy": (0.9612, 1.0)},
        blessed=True,
        overridden=True,
        push=PushOutcome("1795348743", "/m/1795348743"),
    )
    run = RunRecord(run_id="2026-11-22T05-10-03Z", seconds=754.0, state="interrupted", outcome=outcome)
    Console(width=1000).print(runs._table([run]))
    _, line = capsys.readouterr().out.splitlines()
    assert line.rstrip() == (
        "2026-11-22T05-10-03Z 12 min 34 s interrupted 100.0% (96.1–100.0) 0.9999 0.0123 overridden 1795348743"
    )
    assert len(line.rstrip()) <= 100


def test_texts_of_a_run_record_are_printable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = RunOutcome(blessed=True, push=PushOutcome("[/x]\x9b1A\n", "/m"))
    run_dir = tmp_path / "runs" / "2026-11-22T05-10-33"
    run_dir.mkdir(parents=True)
    RunRecord(run_id="[/x]\x1b[2J\n", state="done", outcome=outcome).write(run_dir)
    _, line = listed(tmp_path, monkeypatch=monkeypatch, capsys=capsys).splitlines()
    assert line.split() == [r"[/x]\x1b[2J\n", "done", "blessed", r"[/x]\x9b1A\n"]


@pytest.mark.parametrize("by_earlier_version", [False, True])
def test_a_run_is_running_while_locked_and_interrupted_afterwards(
    tmp_path: Path, by_earlier_version: bool
) -> None:
    settings = load(overrides=[f"output_root={tmp_path}"])
    assert load_run_records(settings) == []
    record = RunRecord(run_id="2026-11-22T05-10-33")
    run_dir = settings.runs_dir / record.run_id
    run_dir.mkdir(parents=True)
    (settings.runs_dir / "notes").mkdir()  # created by the user
    if not by_earlier_version:  # earlier versions wrote no record until the run had ended
        record.write(run_dir)

    def state() -> str:
        [record] = load_run_records(settings)
        return record.state

    assert state() == "interrupted"
    with lock.acquire(tmp_path, f"run {record.run_id}"):
        assert state() == "running"
    with lock.acquire(tmp_path, "run 2026-11-22T06-00-00"):
        assert state() == "interrupted"

    RunRecord(run_id=record.run_id, state="failed", exit_status=1, seconds=12.5).write(run_dir)
    [record] = load_run_records(settings)
    assert (record.state, record.seconds) == ("failed", 12.5)
