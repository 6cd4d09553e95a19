"""ReportingRunner in this process, on the tiny pipeline."""

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from components import integrity
from components.errors import DataRejected, InputError, PipelineError
from pipelines.local.worker import to_pipeline_error
from pipelines.runs.run_record import StepState

pytestmark = pytest.mark.slow

DONE, CACHED = StepState.DONE, StepState.CACHED
Tiny = Any  # the fixture: tiny(*overrides, from_node=…, to_node=…), and tiny.last


def test_unchanged_nodes_are_cached_and_changed_ones_run(tiny: Tiny) -> None:
    first = tiny()
    assert first.states == {"Ingest": DONE, "Trainer": DONE, "QualityGate": DONE, "Pusher": DONE}
    assert first.outcome.exit_status == 0
    assert first.outcome.push is not None
    assert not first.outcome.push.already_pushed

    again = tiny()
    assert set(again.states.values()) == {CACHED}
    assert again.outcome.exit_status == 0
    assert again.outcome.push is not None
    assert again.outcome.push.already_pushed
    assert again.outcome.push.version == first.outcome.push.version

    changed = tiny("training.seed=1")
    assert changed.states == {"Ingest": CACHED, "Trainer": DONE, "QualityGate": DONE, "Pusher": DONE}

    refused = tiny("evaluation.min_accuracy=0.95")
    assert refused.states == {"Ingest": CACHED, "Trainer": CACHED, "QualityGate": DONE, "Pusher": DONE}
    assert refused.outcome.blessed is False
    assert refused.outcome.push is None
    assert refused.outcome.exit_status == 3


def test_a_removed_version_is_no_longer_served(tiny: Tiny) -> None:
    first = tiny()
    Path(first.settings.serving_destination).rename(first.settings.output_root / "elsewhere")
    again = tiny()
    assert again.outcome.push is not None
    assert again.outcome.push.no_longer_served
    assert again.outcome.exit_status == 3
    assert tiny(from_node="Pusher").outcome.exit_status == 0


def test_a_failure_keeps_finished_steps(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_FAULT", "QualityGate:raise")
    with pytest.raises(ValueError, match="the cat sat"):
        tiny()
    states = tiny.last.states
    assert states == {
        "Ingest": DONE,
        "Trainer": DONE,
        "QualityGate": StepState.FAILED,
        "Pusher": StepState.WAITING,
    }
    monkeypatch.delenv("TINY_FAULT")
    assert tiny().states == {"Ingest": CACHED, "Trainer": CACHED, "QualityGate": DONE, "Pusher": DONE}


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [("input", InputError, 2), ("rejected", DataRejected, 4), ("beam", DataRejected, 4)],
)
def test_a_user_error_passes_through_tfx_and_beam(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, fault: str, kind: type[PipelineError], status: int
) -> None:
    monkeypatch.setenv("TINY_FAULT", f"Ingest:{fault}")
    with pytest.raises(Exception) as caught:
        tiny()
    found = to_pipeline_error(caught.value, tiny.root)
    assert type(found) is kind
    assert found.exit_status == status


def test_ctrl_c_removes_partly_written_outputs(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_FAULT", "Trainer:interrupt")
    with pytest.raises(KeyboardInterrupt):
        tiny()
    assert tiny.last.states["Trainer"] is StepState.STOPPED
    artifacts = tiny.root / "artifacts"
    assert not list(artifacts.glob("Trainer/model/*"))
    assert list(artifacts.glob("Ingest/examples/*/examples"))
    monkeypatch.delenv("TINY_FAULT")
    assert tiny().states["Ingest"] is CACHED


def test_the_next_run_removes_partly_written_outputs_of_a_killed_run(tiny: Tiny) -> None:
    first = tiny(to_node="Trainer")
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from pipelines.runs.metadata import open_store

    store = open_store(first.settings.metadata_path, writable=True)
    assert store is not None
    [train] = [
        execution
        for execution in store.get_executions()
        for kind in store.get_execution_types()
        if kind.id == execution.type_id and kind.name.endswith("Trainer")
    ]
    train.last_known_state = mlmd.Execution.RUNNING  # what kill -9 leaves
    store.put_executions([train])
    half = first.settings.artifacts_dir / "Trainer" / "model" / str(train.id)
    assert half.is_dir()
    assert tiny("training.seed=1").states["Trainer"] is DONE
    assert not half.exists()
    [train] = store.get_executions_by_id([train.id])
    assert train.last_known_state == mlmd.Execution.CANCELED


def test_from_runs_the_node_again_and_reuses_earlier_outputs(tiny: Tiny) -> None:
    tiny()
    run = tiny(from_node="trainer")
    assert run.states == {"Ingest": StepState.REUSED, "Trainer": DONE, "QualityGate": DONE, "Pusher": DONE}
    assert run.outcome.push is not None
    assert not run.outcome.push.already_pushed
    # the baseline resolver runs again: its earlier result is out of date
    assert run.record.steps["Baseline"].state is DONE


def test_from_uses_the_newest_run_with_the_outputs_needed(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny()
    monkeypatch.setenv("TINY_FAULT", "Ingest:raise")
    with pytest.raises(ValueError, match="the cat sat"):
        tiny("data.sample.count=7")
    monkeypatch.delenv("TINY_FAULT")
    assert tiny(from_node="QualityGate").states == {
        "Ingest": StepState.REUSED,
        "Trainer": StepState.REUSED,
        "QualityGate": DONE,
        "Pusher": DONE,
    }


def test_to_stops_after_the_node(tiny: Tiny) -> None:
    first = tiny(to_node="TRAINER")
    skipped = {"QualityGate": StepState.SKIPPED, "Pusher": StepState.SKIPPED}
    assert first.states == {"Ingest": DONE, "Trainer": DONE, **skipped}
    assert first.outcome.exit_status == 0
    assert tiny(to_node="Trainer").states == {"Ingest": CACHED, "Trainer": CACHED, **skipped}
    assert tiny(to_node="QualityGate", from_node="QualityGate").states["QualityGate"] is DONE
    refused = tiny("evaluation.min_accuracy=0.95", to_node="QualityGate")
    assert refused.outcome.exit_status == 3


@pytest.mark.parametrize(
    ("from_node", "to_node", "named"),
    [
        ("trian", None, ["'trian'", "'Trainer'"]),
        (None, "zzz", ["'zzz'", "Ingest", "Pusher"]),
        ("Pusher", "Trainer", ["--from Pusher", "--to Trainer"]),
        ("Trainer", None, ["--from Trainer", "Ingest"]),
        ("Pusher", None, ["--from Pusher", "Ingest, Trainer and QualityGate"]),
    ],
)
def test_an_invalid_partial_run_writes_nothing(
    tiny: Tiny, from_node: str | None, to_node: str | None, named: list[str]
) -> None:
    from pipelines.runs import metadata

    with pytest.raises(InputError) as caught:
        tiny(from_node=from_node, to_node=to_node)
    assert all(name in str(caught.value) for name in named)
    assert tiny.last.record.steps == {}
    store = metadata.open_store(tiny.root / "metadata.sqlite")
    assert store is not None
    assert metadata.run_contexts(store) == []


def test_a_clock_behind_a_page_of_executions_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.local import runner

    tiny()
    with contextlib.closing(sqlite3.connect(tiny.root / "metadata.sqlite")) as database, database:
        later = "SET create_time_since_epoch = create_time_since_epoch + 10000000000000"  # 317 years
        for table in ("Execution", "Artifact", "Context"):
            database.execute(f"UPDATE {table} {later}")
    assert tiny("training.seed=1").states["Trainer"] is DONE
    monkeypatch.setattr(runner, "_PAGE_SIZE", 5)
    with pytest.raises(PipelineError, match=r"2\d\d\d-.*23\d\d-.*output_root"):
        tiny()
    assert tiny.last.record.steps == {}


def test_a_node_whose_artifacts_were_deleted_runs_again(tiny: Tiny) -> None:
    shutil.rmtree(tiny().settings.artifacts_dir / "Ingest")
    assert tiny().states["Ingest"] is DONE


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def test_a_damaged_output_is_made_anew_with_all_that_depends_on_it(tiny: Tiny) -> None:
    first = tiny()
    [model] = first.settings.artifacts_dir.glob("Trainer/model/*/model")
    flip_a_bit(model)
    second = tiny()
    assert second.states == {"Ingest": CACHED, "Trainer": DONE, "QualityGate": DONE, "Pusher": DONE}
    assert set(tiny().states.values()) == {CACHED}

    [examples] = first.settings.artifacts_dir.glob("Ingest/examples/*/examples")
    examples.unlink()
    assert set(tiny().states.values()) == {DONE}


def test_the_cache_falls_back_to_an_older_undamaged_output(tiny: Tiny) -> None:
    settings = tiny().settings
    tiny(from_node="Ingest")  # writes everything again
    newest = max(settings.artifacts_dir.glob("Ingest/examples/*"), key=lambda folder: int(folder.name))
    flip_a_bit(newest / "examples")
    assert set(tiny().states.values()) == {CACHED}


def test_outputs_of_an_earlier_version_are_reused_as_before(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(integrity, "record_files", lambda _: None)
        tiny()
    assert set(tiny().states.values()) == {CACHED}
    assert tiny(from_node="QualityGate").states["Trainer"] is StepState.REUSED


def test_from_refuses_damaged_outputs(tiny: Tiny) -> None:
    [examples] = tiny().settings.artifacts_dir.glob("Ingest/examples/*/examples")
    flip_a_bit(examples)
    with pytest.raises(InputError) as caught:
        tiny(from_node="QualityGate")
    assert str(examples.parent) in str(caught.value)
    assert "Ingest.examples" in str(caught.value)
    assert tiny().states["Ingest"] is DONE
    assert tiny(from_node="QualityGate").states["Ingest"] is StepState.REUSED


def test_a_node_that_the_launcher_skips_is_a_failure(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_FAULT", "QualityGate:starve")
    with pytest.raises(PipelineError, match="QualityGate"):
        tiny()
    assert tiny.last.states["QualityGate"] is StepState.FAILED
