"""`catsdogs bless` where it has nothing to bless, and on the tiny pipeline; tests/e2e shows it at work."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from components.quality_gate import verdict
from components.quality_gate.verdict import NOT_OVERRIDABLE, Rule
from pipelines.commands import report, runs
from pipelines.local import override
from pipelines.local import run as local_run
from pipelines.local.summary import RunOptions
from pipelines.runs import lock, metadata, run_folders
from pipelines.settings.loading import dump, load
from tests.pipelines.conftest import Command, Ran

Bless = Callable[..., tuple[int, str]]
RUN = "2026-11-22T05-10-33"
WORSE = Rule("newest model", "failed", -0.04, 0.0, "4.0 points are lost.", "it is worse")


@pytest.fixture
def bless(catsdogs: Command, tmp_path: Path) -> Bless:
    """`bless(*arguments)`: exit status and stderr of the command, which must refuse."""

    def call(*arguments: str) -> tuple[int, str]:
        status, _, said = catsdogs("bless", *arguments, "--set", f"output_root={tmp_path / 'output'}")
        return status, said

    return call


def test_a_run_that_is_not_there(bless: Bless, tmp_path: Path) -> None:
    status, said = bless(RUN, "--reason", "so")
    assert status == 2
    assert str(tmp_path / "output") in said


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_decision_needs_a_reason(bless: Bless, reason: str) -> None:
    status, said = bless(RUN, "--reason", reason)
    assert status == 2
    assert "--reason" in said


@pytest.fixture
def refused(tiny: Any) -> Ran:
    """A refused run after a blessed one, with the settings in its folder."""
    tiny()
    ran: Ran = tiny("evaluation.min_accuracy=0.95")
    (ran.settings.runs_dir / ran.run_id / "settings.yaml").write_text(dump(ran.settings))
    return ran


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (lambda root: dump(load(overrides=[f"output_root={root / 'output'}"])), ["QualityGate"]),
        (lambda _: "training:\n  no_such_setting: 3\n", ["no_such_setting"]),
        (lambda root: dump(load(overrides=[f"output_root={root / 'before'}"])), ["before", "output"]),
    ],
    ids=["no verdict", "settings that cannot be read", "a run of another place"],
)
def test_what_cannot_be_decided_on_is_told_before_anything_is_written(
    bless: Bless, tmp_path: Path, settings: Callable[[Path], str], named: list[str]
) -> None:
    folder = tmp_path / "output" / "runs" / RUN
    folder.mkdir(parents=True)
    (folder / "settings.yaml").write_text(settings(tmp_path))
    status, said = bless(RUN, "--reason", "so")
    assert status == 2
    assert all(name in said for name in named)
    assert not (tmp_path / "before").exists()
    assert [file.name for file in folder.iterdir()] == ["settings.yaml"]


def test_nobody_decides_without_a_name(bless: Bless, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 1000770000")

    monkeypatch.setattr("getpass.getuser", no_name)
    status, said = bless(RUN, "--reason", "so")
    assert status == 2
    assert "--by NAME" in said


@pytest.mark.slow
def test_what_can_be_set_aside_and_what_cannot(tiny: Any, bless: Bless, refused: Ran) -> None:
    blessed = "2026-11-22T05-10-01"
    for_blessed = refused.settings.runs_dir / blessed / "settings.yaml"
    for_blessed.write_text(dump(refused.settings))
    status, said = bless(blessed, "--reason", "so")
    assert status == 2
    assert blessed in said

    runs_before = sorted(refused.settings.runs_dir.iterdir())
    with lock.hold(tiny.root, "run 2026-11-22T05-10-33"):
        status, said = bless(refused.run_id, "--reason", "so")
    assert status == 1
    assert "2026-11-22T05-10-33" in said

    decision = override.decide(refused.settings, refused.run_id, " New camera. ", "ada")
    taken = json.loads(decision.taken())
    store = metadata.open_store(refused.settings.metadata_path)
    assert store is not None
    outputs = metadata.outputs(store, refused.run_id)
    model = Path(outputs["Trainer.model"].artifact.uri)
    assert taken.pop("at").endswith("+00:00")
    assert taken == {"reason": "New camera.", "by": "ada", "model": str(model), "rules": ["accuracy"]}

    folder = outputs["QualityGate.blessing"].artifact.uri
    found = verdict.read(folder)
    assert found is not None
    for name in sorted(NOT_OVERRIDABLE):
        final = Rule(name, "failed", None, None, "It cannot be.", "it cannot be")
        verdict.write(folder, replace(found, rules=[WORSE, final]))
        status, said = bless(refused.run_id, "--reason", "so")
        assert status == 2
        assert final.words in said

    for damaged in ('{"blessed": fal', '{"blessed": false}', "[]"):
        Path(folder, "verdict.json").write_text(damaged)
        status, said = bless(refused.run_id, "--reason", "so")
        assert status == 2
        assert f"catsdogs run --config {refused.settings.runs_dir / refused.run_id}" in said

    verdict.write(folder, found)
    model.rename(model.with_name("elsewhere"))
    status, said = bless(refused.run_id, "--reason", "so")
    assert status == 2
    assert str(model) in said
    assert sorted(refused.settings.runs_dir.iterdir()) == runs_before
    assert not (refused.settings.runs_dir / refused.run_id / "overrides.jsonl").exists()


@pytest.mark.slow
def test_the_model_of_the_run_is_blessed_and_not_another_one(
    tiny: Any, refused: Ran, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny("training.seed=1", "evaluation.min_accuracy=0.95")  # newer, and with another model
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "local"))
    decided = override.decide(refused.settings, refused.run_id, "New camera.", "ada")
    # The run's settings would now make another model: nothing but what the run has may be taken.
    changes = [f"output_root={tiny.root}", "evaluation.min_accuracy=0.95", "training.seed=2"]
    settings = load(overrides=changes)
    decision = replace(decided, first_step="QualityGate", settings=settings)
    assert local_run.run(settings, RunOptions(), pipeline="tiny_pipeline:build", decision=decision) == 0

    folder = refused.settings.runs_dir
    [made] = [run for run in sorted(folder.iterdir()) if not run.name.startswith("2026-11-22T05-10")]
    [kept] = [json.loads(line) for line in (folder / refused.run_id / "overrides.jsonl").open()]
    assert (kept["by"], kept["rules"], kept["run"]) == ("ada", ["accuracy"], made.name)
    store = metadata.open_store(settings.metadata_path)
    assert store is not None
    pushed = metadata.outputs(store, made.name)["Pusher.pushed_model"].artifact
    model = metadata.outputs(store, refused.run_id)["Trainer.model"].artifact
    served = Path(str(metadata.properties(pushed)["pushed_destination"]), "model")
    assert served.read_text() == Path(model.uri, "model").read_text()

    run_folders.record_override(
        folder / refused.run_id, {"by": "bob"}, "2026-11-22T05-10-59"
    )  # one that was killed
    assert len((folder / refused.run_id / "overrides.jsonl").read_text().splitlines()) == 2
    assert run_folders.overridden_in(folder, refused.run_id) == made.name
    assert run_folders.overridden_in(folder, made.name) is None
    capsys.readouterr()
    runs.runs(overrides=[f"output_root={tiny.root}"])
    told = capsys.readouterr().out.splitlines()[-1]
    assert refused.run_id in told
    assert made.name in told

    (folder / refused.run_id / "report.html").touch()
    capsys.readouterr()
    report.report(refused.run_id, overrides=[f"output_root={tiny.root}"])
    printed = capsys.readouterr()
    assert printed.out == f"{folder / refused.run_id / 'report.html'}\n"
    assert made.name in printed.err


@pytest.mark.slow
def test_a_run_that_lacks_what_made_its_model_is_not_taken_for_another(tiny: Any, refused: Ran) -> None:
    lacking = tiny(to_step="Ingest").run_id
    with pytest.raises(InputError, match=lacking):
        tiny(from_step="QualityGate", again=lacking)
