"""`catsdogs bless`: refusals that cannot be overridden, and an override of the tiny pipeline's gate."""

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
from pipelines.settings.beam import BeamConfig
from pipelines.settings.loading import dump, load
from tests.pipelines.conftest import Command, CompletedRun

Bless = Callable[..., tuple[int, str]]
RUN = "2026-11-22T05-10-33"
WORSE = Rule("newest model", "failed", -0.04, 0.0, "4.0 points are lost.", "it is worse")


@pytest.fixture
def bless(catsdogs: Command, tmp_path: Path) -> Bless:
    """`bless(*arguments)`: exit status and stderr of the command, which must refuse."""

    def call(*arguments: str) -> tuple[int, str]:
        status, _, message = catsdogs("bless", *arguments, "--set", f"output_root={tmp_path / 'output'}")
        return status, message

    return call


def test_a_missing_run_is_an_error(bless: Bless, tmp_path: Path) -> None:
    status, message = bless(RUN, "--reason", "so")
    assert status == 2
    assert str(tmp_path / "output") in message


@pytest.mark.parametrize("reason", ["", "  "])
def test_an_override_needs_a_reason(bless: Bless, reason: str) -> None:
    status, message = bless(RUN, "--reason", reason)
    assert status == 2
    assert "--reason" in message


@pytest.fixture
def refused(tiny: Any) -> CompletedRun:
    """A refused run after a blessed one, with the settings in its folder."""
    tiny()
    ran: CompletedRun = tiny("evaluation.min_accuracy=0.95")
    (ran.settings.runs_dir / ran.run_id / "settings.yaml").write_text(dump(ran.settings))
    return ran


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (lambda root: dump(load(overrides=[f"output_root={root / 'output'}"])), ["QualityGate"]),
        (lambda _: "training:\n  no_such_setting: 3\n", ["no_such_setting"]),
        (lambda root: dump(load(overrides=[f"output_root={root / 'before'}"])), ["before", "output"]),
    ],
    ids=["no verdict", "settings that cannot be read", "a run of another output root"],
)
def test_an_invalid_request_fails_before_anything_is_written(
    bless: Bless, tmp_path: Path, settings: Callable[[Path], str], named: list[str]
) -> None:
    folder = tmp_path / "output" / "runs" / RUN
    folder.mkdir(parents=True)
    (folder / "settings.yaml").write_text(settings(tmp_path))
    status, message = bless(RUN, "--reason", "so")
    assert status == 2
    assert all(name in message for name in named)
    assert not (tmp_path / "before").exists()
    assert [file.name for file in folder.iterdir()] == ["settings.yaml"]


def test_an_override_needs_a_name(bless: Bless, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 1000770000")

    monkeypatch.setattr("getpass.getuser", no_name)
    status, message = bless(RUN, "--reason", "so")
    assert status == 2
    assert "--by NAME" in message


@pytest.mark.slow
def test_which_refusals_can_be_overridden(tiny: Any, bless: Bless, refused: CompletedRun) -> None:
    blessed = "2026-11-22T05-10-01"
    for_blessed = refused.settings.runs_dir / blessed / "settings.yaml"
    for_blessed.write_text(dump(refused.settings))
    status, message = bless(blessed, "--reason", "so")
    assert status == 2
    assert blessed in message

    runs_before = sorted(refused.settings.runs_dir.iterdir())
    with lock.acquire(tiny.root, "run 2026-11-22T05-10-33"):
        status, message = bless(refused.run_id, "--reason", "so")
    assert status == 1
    assert "2026-11-22T05-10-33" in message

    here = refused.settings.model_copy(update={"beam": BeamConfig(workers=3)})
    changed_request = override.create_override_request(here, refused.run_id, " New camera. ", "ada")
    assert changed_request.settings.beam == here.beam  # a cluster of the refused run may be gone
    taken = json.loads(changed_request.to_override())
    store = metadata.open_store(refused.settings.metadata_path)
    assert store is not None
    outputs = metadata.run_outputs(store, refused.run_id)
    model = Path(outputs["Trainer.model"].artifact.uri)
    assert taken.pop("at").endswith("+00:00")
    assert taken == {"reason": "New camera.", "by": "ada", "model": str(model), "rules": ["accuracy"]}

    folder = outputs["QualityGate.blessing"].artifact.uri
    found = verdict.read(folder)
    assert found is not None
    for name in sorted(NOT_OVERRIDABLE):
        final = Rule(name, "failed", None, None, "It cannot be.", "it cannot be")
        verdict.write(folder, replace(found, rules=[WORSE, final]))
        status, message = bless(refused.run_id, "--reason", "so")
        assert status == 2
        assert final.words in message

    for damaged in ('{"blessed": fal', '{"blessed": false}', "[]"):
        Path(folder, "verdict.json").write_text(damaged)
        status, message = bless(refused.run_id, "--reason", "so")
        assert status == 2
        assert f"catsdogs run --config {refused.settings.runs_dir / refused.run_id}" in message

    verdict.write(folder, found)
    model.rename(model.with_name("elsewhere"))
    status, message = bless(refused.run_id, "--reason", "so")
    assert status == 2
    assert str(model) in message
    assert sorted(refused.settings.runs_dir.iterdir()) == runs_before
    assert not (refused.settings.runs_dir / refused.run_id / "overrides.jsonl").exists()


@pytest.mark.slow
def test_the_model_of_the_named_run_is_blessed(
    tiny: Any, refused: CompletedRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny("training.seed=1", "evaluation.min_accuracy=0.95")  # newer, and with another model
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "local"))
    request = override.create_override_request(refused.settings, refused.run_id, "New camera.", "ada")
    # Other settings would train another model: only outputs of the refused run may be reused.
    changes = [f"output_root={tiny.root}", "evaluation.min_accuracy=0.95", "training.seed=2"]
    settings = load(overrides=changes)
    changed_request = replace(request, first_node="QualityGate", settings=settings)
    assert (
        local_run.run_locally(
            settings, RunOptions(), pipeline="tiny_pipeline:build", override_request=changed_request
        )
        == 0
    )

    folder = refused.settings.runs_dir
    [made] = [run for run in sorted(folder.iterdir()) if not run.name.startswith("2026-11-22T05-10")]
    [stored] = [json.loads(line) for line in (folder / refused.run_id / "overrides.jsonl").open()]
    assert (stored["by"], stored["rules"], stored["run"]) == ("ada", ["accuracy"], made.name)
    store = metadata.open_store(settings.metadata_path)
    assert store is not None
    pushed = metadata.run_outputs(store, made.name)["Pusher.pushed_model"].artifact
    model = metadata.run_outputs(store, refused.run_id)["Trainer.model"].artifact
    served = Path(str(metadata.custom_properties(pushed)["pushed_destination"]), "model")
    assert served.read_text() == Path(model.uri, "model").read_text()

    run_folders.append_override(
        folder / refused.run_id, {"by": "bob"}, "2026-11-22T05-10-59"
    )  # one that was killed
    assert len((folder / refused.run_id / "overrides.jsonl").read_text().splitlines()) == 2
    assert run_folders.find_overriding_run(folder, refused.run_id) == made.name
    assert run_folders.find_overriding_run(folder, made.name) is None
    capsys.readouterr()
    runs.runs(overrides=[f"output_root={tiny.root}"])
    line = capsys.readouterr().out.splitlines()[-1]
    assert refused.run_id in line
    assert made.name in line

    (folder / refused.run_id / "report.html").touch()
    capsys.readouterr()
    report.report(refused.run_id, overrides=[f"output_root={tiny.root}"])
    printed = capsys.readouterr()
    assert printed.out == f"{folder / refused.run_id / 'report.html'}\n"
    assert made.name in printed.err


@pytest.mark.slow
def test_outputs_missing_from_the_base_run_are_an_error(tiny: Any, refused: CompletedRun) -> None:
    lacking = tiny(to_node="Ingest").run_id
    with pytest.raises(InputError, match=lacking):
        tiny(from_node="QualityGate", base_run_id=lacking)
