"""Which runs `clean` keeps regardless of their age, and when it refuses to run."""

import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2

from components.errors import InputError
from pipelines.runs import cleanup, metadata
from tests.pipelines.stores import PastRuns


@pytest.fixture
def past(tmp_path: Path) -> PastRuns:
    return PastRuns(tmp_path)


def test_a_cached_blessing_counts_as_the_newest(past: PastRuns) -> None:
    first = past.run("1", "ModelBlessing", blessed=1)
    second = past.run("2", "ModelBlessing", blessed=1)
    past.output("3", first)
    past.run("4", "ModelBlessing", blessed=0)
    plan = past.plan()
    assert plan.runs == ["2", "1"]
    assert [artifact.id for artifact in plan.artifacts] == [second.id]
    cleanup.remove_planned(plan, past.store)
    assert Path(first.uri, "file").is_file()
    assert not Path(second.uri).exists()
    assert {folder.name for folder in past.settings.runs_dir.iterdir()} == {"3", "4"}


def test_the_baseline_of_the_newest_model_is_kept(past: PastRuns) -> None:
    past.run("1", "ModelBlessing", blessed=1, current_model_id=5)
    past.run("2", "ModelBlessing", blessed=1, current_model_id=6)
    past.run("3", "ModelBlessing", blessed=1, current_model_id=7)
    past.run("4", "ModelBlessing", blessed=1, current_model_id=7)
    past.run("5", "Model")
    assert past.plan().runs == ["3", "1"]


def test_the_best_model_is_kept_as_well_as_the_newest(past: PastRuns) -> None:
    past.run("1", "ModelBlessing", blessed=1, best="yes")
    best = past.run("2", "ModelBlessing", blessed=1, best="yes")
    past.run("3", "ModelBlessing", blessed=1, best="no")
    last = past.run("4", "ModelBlessing", blessed=1, best="no")
    past.run("5", "ModelBlessing", blessed=0, best="no")
    (past.settings.runs_dir / "2" / "report.html").touch()
    plan = past.plan()
    assert plan.runs == ["3", "1"]
    cleanup.remove_planned(plan, past.store)
    assert all(Path(kept.uri, "file").is_file() for kept in (best, last))
    assert (past.settings.runs_dir / "2" / "report.html").is_file()


def test_a_resolver_s_output_does_not_count_as_an_approval(past: PastRuns) -> None:
    first = past.run("1", "ModelBlessing", blessed=1)
    past.run("2", "ModelBlessing", blessed=1)
    past.output("3", first, metadata_store_pb2.Event.INTERNAL_OUTPUT)
    past.run("4", "Model")
    assert past.plan().runs == ["3", "1"]


def test_the_newest_accepted_data_of_each_source_are_kept(past: PastRuns) -> None:
    from components.artifacts import DataVerdict
    from components.data_gate.component import SOURCE, STATISTICS_ID

    for run_id, source in enumerate(["sample", "folder /a", "folder /a", "sample", "folder /b"]):
        properties: dict[str, int | str] = {"blessed": 1, STATISTICS_ID: 7, SOURCE: source}
        past.run(str(run_id), DataVerdict.TYPE_NAME, **properties)
    past.run("last", "Model")
    assert past.plan().runs == ["1", "0"]


def test_the_run_that_pushed_the_served_version_is_kept(past: PastRuns) -> None:
    first = past.run("1", "PushedModel", pushed=1, pushed_version="999")
    past.run("2", "PushedModel", pushed=1, pushed_version="1000")
    past.output("3", first)
    past.run("4", "PushedModel", pushed=0)
    plan = past.plan()
    assert (plan.runs, plan.artifacts, plan.folders) == (["1"], [], [past.settings.runs_dir / "1"])


def test_after_a_rollback_the_run_of_the_served_version_is_kept(past: PastRuns) -> None:
    for run_id, version in (("1", "1000"), ("2", "1001"), ("3", "1002")):
        past.run(run_id, "PushedModel", pushed=1, pushed_version=version)
    past.run("4", "Model")
    assert past.plan().runs == ["2", "1"]
    served = Path(past.settings.serving_destination)
    for name in ("1000", "1001", "withdrawn-1002"):
        (served / name).mkdir(parents=True)
    assert past.plan().runs == ["1"], "the last push, and what is served"


def test_a_symbolic_link_to_the_output_root_is_the_same_root(past: PastRuns, tmp_path: Path) -> None:
    old, new = past.run("1", "Model"), past.run("2", "Model")
    (tmp_path / "link").symlink_to(tmp_path)
    plan = past.plan(tmp_path / "link")
    assert [artifact.id for artifact in plan.artifacts] == [old.id]
    assert plan.folders == [Path(old.uri), tmp_path / "link" / "runs" / "1"]
    cleanup.remove_planned(plan, past.store)
    assert not Path(old.uri).exists()
    assert Path(new.uri, "file").is_file()


@pytest.mark.parametrize("path", ["checkpoints/0123456789abcdef", "feature_cache/0123456789abcdef"])
def test_checkpoints_and_feature_caches_are_removed(past: PastRuns, tmp_path: Path, path: str) -> None:
    past.run("1", "Model")
    (tmp_path / path).mkdir(parents=True)
    (tmp_path / path / "half").write_bytes(b"x" * 1000)
    plan = past.plan()
    assert (plan.folders, plan.size, plan.runs) == ([tmp_path / path], 1000, [])
    cleanup.remove_planned(plan, past.store)
    assert not (tmp_path / path).exists()


def test_runs_and_artifacts_of_an_earlier_metadata_store_are_kept(past: PastRuns, tmp_path: Path) -> None:
    lost, never_begun = "2026-11-20T05-10-01", "2026-11-20T05-10-02"
    model = Path(past.run(lost, "ModelBlessing", blessed=1).uri)
    log = past.settings.runs_dir / lost / "logs" / "01-Trainer.log"
    log.parent.mkdir(parents=True)
    log.touch()
    (past.settings.runs_dir / lost / "run.json").touch()  # as a crash of the machine may leave it
    past.settings.metadata_path.rename(tmp_path / "metadata.sqlite.damaged")
    (past.settings.runs_dir / never_begun).mkdir()
    (past.settings.runs_dir / "notes").mkdir()

    metadata.prepare_store(past.settings.metadata_path, past.settings.artifacts_dir)
    begun = PastRuns(tmp_path)
    assert begun.plan().folders == []
    first, second = (Path(begun.run(f"2026-11-21T05-10-0{n}", "Model").uri) for n in (1, 2))
    assert [folder.name for folder in (model, first, second)] == ["1", "2", "3"]
    plan = begun.plan()
    assert plan.folders == [
        first,
        past.settings.runs_dir / never_begun,
        past.settings.runs_dir / "2026-11-21T05-10-01",
    ]


def test_a_moved_output_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    past = PastRuns(tmp_path / "made")
    past.run("1", "Model")
    kept = past.run("2", "Model")
    moved = (tmp_path / "made").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=f"{kept.uri}.*{moved}"):
        past.plan(moved)


def test_clean_does_not_import_tensorflow() -> None:
    script = (
        "import sys, pipelines.runs.cleanup; sys.exit('tensorflow' in sys.modules or 'tfx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
