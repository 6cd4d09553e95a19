import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines import cli, runs
from pipelines.local import lock
from pipelines.local.summary import Summary


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
    for fault in ("Judge:raise", "Judge:interrupt"):
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
    assert table[0].split() == ["run", "took", "state", "cached", "accuracy", "blessed", "pushed"]
    assert table[3].split()[0] == "2026-11-22T05-10-03"
    assert table[3].split()[-3:] == ["refused", "2/4", "no"]
    assert max(map(len, table)) <= 80


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
