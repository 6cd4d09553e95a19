import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2
from rich.console import Console

from pipelines import cli, runs, runs_command
from pipelines.local import lock
from pipelines.local.summary import Outcome, Summary


def test_there_are_no_runs_where_there_is_no_store(tmp_path: Path) -> None:
    assert runs.past(tmp_path, tmp_path / "metadata.sqlite") == []


def test_the_list_needs_no_tensorflow() -> None:
    script = "import sys, pipelines.runs; sys.exit('tensorflow' in sys.modules or 'tfx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.slow
def test_the_list_tells_of_every_run(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.time()
    pushed = tiny().outcome.push
    tiny()
    tiny("evaluation.min_accuracy=0.95")
    for fault in ("QualityGate:raise", "QualityGate:interrupt"):
        monkeypatch.setenv("TINY_FAULT", fault)
        with pytest.raises((ValueError, KeyboardInterrupt)):
            tiny("training.seed=1")
    monkeypatch.delenv("TINY_FAULT")
    found = runs.past(tiny.root, tiny.root / "metadata.sqlite")
    assert [(run.state, run.cached, run.steps, run.blessed) for run in found] == [
        ("interrupted", 2, 2, None),
        ("failed", 1, 2, None),
        ("refused", 2, 4, False),
        ("done", 4, 4, True),
        ("done", 0, 4, True),
    ]
    assert [run.pushed for run in found] == [None, None, None, pushed.version, pushed.version]
    assert all(run.seconds is not None and 0 < run.seconds < 60 for run in found)
    assert all(began - 1 < run.started.timestamp() < time.time() for run in found)

    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["catsdogs", "runs", "--json", "--set", f"output_root={tiny.root}"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    listed = json.loads(capsys.readouterr().out)
    assert [run["run_id"] for run in listed] == [run.run_id for run in found]
    assert listed[0]["started"] == found[0].started.isoformat(timespec="seconds")

    monkeypatch.setattr(sys, "argv", ["catsdogs", "runs", "--set", f"output_root={tiny.root}"])
    with pytest.raises(SystemExit):
        cli.main()
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["run", "took", "state", "accuracy", "auc", "loss", "verdict", "pushed"]
    assert table[3].split()[0] == "2026-11-22T05-10-03"
    assert table[3].split()[-2:] == ["refused", "refused"]
    assert table[4].split()[-2:] == ["blessed", pushed.version]


def run(**changes: Any) -> runs.Run:
    """The widest that a run's line can be."""
    values: dict[str, Any] = {
        "run_id": "2026-11-22T05-10-03",
        "started": datetime(2026, 11, 22, 5, 10, 3).astimezone(),
        "seconds": 754.0,
        "state": "interrupted",
        "steps": 15,
        "cached": 3,
        "accuracy": 1.0,
        "accuracy_interval": (0.9612, 1.0),
        "auc": 0.99988,
        "loss": 0.01234,
        "blessed": True,
        "overridden": True,
        "overridden_in": None,
        "pushed": "1795348743",
    }
    return runs.Run(**{**values, **changes})


def test_the_list_fits_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=1000).print(runs_command._table([run()]))
    _, line = capsys.readouterr().out.splitlines()
    assert line.rstrip() == (
        "2026-11-22T05-10-03 12 min 34 s interrupted 100.0% (96.1–100.0) 0.9999 0.0123 overridden 1795348743"
    )
    assert len(line.rstrip()) <= 100


@pytest.mark.parametrize(
    ("blessed", "overridden", "verdict"),
    [(True, False, "blessed"), (True, True, "overridden"), (False, False, "refused"), (None, False, "")],
)
def test_the_verdict_in_a_word(blessed: bool | None, overridden: bool, verdict: str) -> None:
    assert run(blessed=blessed, overridden=overridden).verdict == verdict


@pytest.mark.slow
def test_the_figures_of_a_run_are_noted_with_their_interval(tmp_path: Path) -> None:
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    store = ml_metadata.MetadataStore(config)
    kind = store.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run"))
    store.put_contexts([metadata_store_pb2.Context(type_id=kind, name="1")])
    runs.note_start(store, "1", time.time())
    outcome = Outcome(
        {"accuracy": 0.95, "auc": 0.99, "loss": 0.1, "examples": 200.0},
        {"accuracy": (0.91, 0.97)},
        blessed=True,
        overridden=True,
    )
    runs.note_outcome(store, "1", outcome)
    [found] = runs.past(tmp_path, tmp_path / "metadata.sqlite")
    assert (found.accuracy, found.auc, found.loss) == (0.95, 0.99, 0.1)
    assert found.accuracy_interval == (0.91, 0.97)
    assert (found.verdict, found.state, found.pushed) == ("overridden", "done", None)


@pytest.mark.slow
def test_a_run_is_running_while_its_lock_is_held_and_interrupted_when_it_is_gone(tiny: Any) -> None:
    ran = tiny(to_step="Ingest")
    store = runs.open_store(ran.settings.metadata_path, writable=True)
    assert store is not None
    runs.note_start(store, ran.run_id, time.time())

    def state() -> str:
        return runs.past(tiny.root, ran.settings.metadata_path)[0].state

    assert state() == "interrupted"
    with lock.hold(tiny.root, f"run {ran.run_id}"):
        assert state() == "running"
    with lock.hold(tiny.root, "run 2026-11-22T06-00-00"):
        assert state() == "interrupted"

    Summary(ran.run_id, "failed", 1, 12.5, steps={}).write(ran.settings.runs_dir / ran.run_id)
    [told] = runs.past(tiny.root, ran.settings.metadata_path)
    assert (told.state, told.seconds) == ("failed", 12.5)
    with lock.hold(tiny.root, f"run {ran.run_id}"):
        assert state() == "running"
