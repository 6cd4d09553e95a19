from pathlib import Path
from typing import Any

import pytest

from pipelines.runs import cleanup, metadata
from pipelines.runs.run_folders import load_run_records
from pipelines.runs.run_record import StepState
from pipelines.settings.tree import Settings

DONE, CACHED = StepState.DONE, StepState.CACHED


def _clean(settings: Settings, keep: int) -> cleanup.CleanupPlan:
    store = metadata.open_store(settings.metadata_path, writable=True)
    plan = cleanup.plan_cleanup(store, settings, keep)
    cleanup.remove_planned(plan, store)
    return plan


def _files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_old_runs_are_removed_and_the_newest_kept(tiny: Any) -> None:
    old, middle, new = (tiny(f"training.seed={seed}") for seed in range(3))
    root = new.settings.output_root
    served = _files(root / "serving_model")
    plan = _clean(new.settings, keep=2)
    assert plan.runs == [old.run_id]
    assert plan.size > 0
    assert {path.name for path in new.settings.runs_dir.iterdir()} == {middle.run_id, new.run_id}
    assert _files(root / "serving_model") == served
    assert not list(new.settings.artifacts_dir.rglob(".system"))
    assert [run.run_id for run in load_run_records(new.settings)] == [new.run_id, middle.run_id]

    # what the kept runs rest on is all there, and what went is not taken for there
    assert set(tiny("training.seed=2").states.values()) == {CACHED}
    assert set(tiny("training.seed=1").states.values()) == {CACHED}
    assert tiny("training.seed=0").states == {
        "Ingest": CACHED,
        "Trainer": DONE,
        "QualityGate": DONE,
        "Pusher": DONE,
    }


@pytest.mark.slow
def test_stale_files_are_removed_and_a_second_clean_finds_nothing(tiny: Any) -> None:
    settings = tiny().settings
    half = settings.artifacts_dir / "Trainer" / "model" / "999"
    half.mkdir()
    (half / "saved_model.pb").write_bytes(b"x")
    wheels = settings.artifacts_dir / "_wheels"
    wheels.mkdir()
    plan = _clean(settings, keep=1)
    assert {half, wheels} <= set(plan.folders)
    assert not half.exists()
    assert not wheels.exists()
    again = _clean(settings, keep=1)
    assert (again.folders, again.runs, again.artifacts) == ([], [], [])


@pytest.mark.slow
def test_each_pipeline_keeps_its_newest_runs(tiny: Any) -> None:
    other = tiny("pipeline_name=muffins")
    mine = tiny()
    plan = _clean(mine.settings, keep=1)
    assert plan.runs == []
    assert set(tiny("pipeline_name=muffins").states.values()) == {CACHED}
    assert other.run_id in {run.run_id for run in load_run_records(mine.settings)}
