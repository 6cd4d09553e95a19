"""The runner itself, in this process, on the tiny pipeline."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from components.errors import DataRejected, InputError, PipelineError
from pipelines.local.failure import explain
from pipelines.runs.run_record import State

pytestmark = pytest.mark.slow

DONE, CACHED = State.DONE, State.CACHED
Tiny = Any  # the fixture: tiny(*overrides, from_step=…, to_step=…), and tiny.last


def test_an_unchanged_run_is_cached_and_a_change_runs_what_depends_on_it(tiny: Tiny) -> None:
    first = tiny()
    assert first.states == {"Ingest": DONE, "Trainer": DONE, "QualityGate": DONE, "Pusher": DONE}
    assert first.outcome.exit_status == 0
    assert first.outcome.push is not None
    assert not first.outcome.push.earlier

    again = tiny()
    assert set(again.states.values()) == {CACHED}
    assert again.outcome.exit_status == 0
    assert again.outcome.push is not None
    assert again.outcome.push.earlier
    assert again.outcome.push.version == first.outcome.push.version

    changed = tiny("training.seed=1")
    assert changed.states == {"Ingest": CACHED, "Trainer": DONE, "QualityGate": DONE, "Pusher": DONE}

    refused = tiny("evaluation.min_accuracy=0.95")
    assert refused.states == {"Ingest": CACHED, "Trainer": CACHED, "QualityGate": DONE, "Pusher": DONE}
    assert refused.outcome.blessed is False
    assert refused.outcome.push is None
    assert refused.outcome.exit_status == 3


def test_a_pushed_version_that_has_been_removed_is_noticed(tiny: Tiny) -> None:
    first = tiny()
    Path(first.settings.serving_destination).rename(first.settings.output_root / "elsewhere")
    again = tiny()
    assert again.outcome.push is not None
    assert again.outcome.push.missing
    assert again.outcome.exit_status == 3
    assert tiny(from_step="Pusher").outcome.exit_status == 0


def test_a_failure_keeps_what_is_finished(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_FAULT", "QualityGate:raise")
    with pytest.raises(ValueError, match="the cat sat"):
        tiny()
    states = tiny.last.states
    assert states == {"Ingest": DONE, "Trainer": DONE, "QualityGate": State.FAILED, "Pusher": State.WAITING}
    monkeypatch.delenv("TINY_FAULT")
    assert tiny().states == {"Ingest": CACHED, "Trainer": CACHED, "QualityGate": DONE, "Pusher": DONE}


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [("input", InputError, 2), ("rejected", DataRejected, 4), ("beam", DataRejected, 4)],
)
def test_an_error_for_the_user_comes_through_tfx_and_beam(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, fault: str, kind: type[PipelineError], status: int
) -> None:
    monkeypatch.setenv("TINY_FAULT", f"Ingest:{fault}")
    with pytest.raises(Exception) as caught:
        tiny()
    found = explain(caught.value, tiny.root)
    assert type(found) is kind
    assert found.exit_status == status


def test_ctrl_c_closes_the_run_and_removes_what_was_half_written(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_FAULT", "Trainer:interrupt")
    with pytest.raises(KeyboardInterrupt):
        tiny()
    assert tiny.last.states["Trainer"] is State.STOPPED
    artifacts = tiny.root / "artifacts"
    assert not list(artifacts.glob("Trainer/model/*"))
    assert list(artifacts.glob("Ingest/examples/*/examples"))
    monkeypatch.delenv("TINY_FAULT")
    assert tiny().states["Ingest"] is CACHED


def test_a_killed_run_s_half_written_folders_are_removed_by_the_next(tiny: Tiny) -> None:
    first = tiny(to_step="Trainer")
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


def test_from_runs_anew_what_it_names_and_takes_the_rest_from_earlier(tiny: Tiny) -> None:
    tiny()
    ran = tiny(from_step="trainer")
    assert ran.states == {"Ingest": State.REUSED, "Trainer": DONE, "QualityGate": DONE, "Pusher": DONE}
    assert ran.outcome.push is not None
    assert not ran.outcome.push.earlier
    # the lookup of the baseline is not taken from the earlier run, whose answer is out of date
    assert ran.record.steps["Baseline"].state is DONE


def test_from_goes_back_to_a_run_that_got_so_far(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny()
    monkeypatch.setenv("TINY_FAULT", "Ingest:raise")
    with pytest.raises(ValueError, match="the cat sat"):
        tiny("data.sample.count=7")
    monkeypatch.delenv("TINY_FAULT")
    assert tiny(from_step="QualityGate").states == {
        "Ingest": State.REUSED,
        "Trainer": State.REUSED,
        "QualityGate": DONE,
        "Pusher": DONE,
    }


def test_to_stops_after_what_it_names(tiny: Tiny) -> None:
    first = tiny(to_step="TRAINER")
    skipped = {"QualityGate": State.SKIPPED, "Pusher": State.SKIPPED}
    assert first.states == {"Ingest": DONE, "Trainer": DONE, **skipped}
    assert first.outcome.exit_status == 0
    assert tiny(to_step="Trainer").states == {"Ingest": CACHED, "Trainer": CACHED, **skipped}
    assert tiny(to_step="QualityGate", from_step="QualityGate").states["QualityGate"] is DONE
    refused = tiny("evaluation.min_accuracy=0.95", to_step="QualityGate")
    assert refused.outcome.exit_status == 3


@pytest.mark.parametrize(
    ("from_step", "to_step", "named"),
    [
        ("trian", None, ["'trian'", "'Trainer'"]),
        (None, "zzz", ["'zzz'", "Ingest", "Pusher"]),
        ("Pusher", "Trainer", ["--from Pusher", "--to Trainer"]),
        ("Trainer", None, ["--from Trainer", "Ingest"]),
        ("Pusher", None, ["--from Pusher", "Ingest, Trainer and QualityGate"]),
    ],
)
def test_a_part_that_cannot_run_leaves_no_trace(
    tiny: Tiny, from_step: str | None, to_step: str | None, named: list[str]
) -> None:
    from pipelines.runs import metadata

    with pytest.raises(InputError) as caught:
        tiny(from_step=from_step, to_step=to_step)
    assert all(name in str(caught.value) for name in named)
    assert tiny.last.record.steps == {}
    store = metadata.open_store(tiny.root / "metadata.sqlite")
    assert store is not None
    assert metadata.contexts(store) == []


def test_a_step_whose_artifacts_are_gone_from_the_disk_runs_again(tiny: Tiny) -> None:
    shutil.rmtree(tiny().settings.artifacts_dir / "Ingest")
    assert tiny().states["Ingest"] is DONE


def test_a_step_that_the_launcher_skips_in_silence_is_a_failure(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_FAULT", "QualityGate:starve")
    with pytest.raises(PipelineError, match="QualityGate"):
        tiny()
    assert tiny.last.states["QualityGate"] is State.FAILED
