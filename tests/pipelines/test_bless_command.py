"""`catsdogs bless` where it has nothing to bless; tests/e2e shows it at work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.quality_gate import verdict
from components.quality_gate.verdict import NEVER_LIFTED, Rule
from pipelines import bless_run, cli, runs
from pipelines.local import lock

Bless = Callable[..., tuple[int, str]]
WORSE = Rule("newest model", "failed", -0.04, 0.0, "4.0 points are lost.", "it is worse")


@pytest.fixture
def bless(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Bless:
    """`bless(*arguments)`: exit status and stderr of the command, which must refuse."""

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        root = ("--set", f"output_root={tmp_path / 'output'}")
        monkeypatch.setattr(sys, "argv", ["catsdogs", "bless", *arguments, *root])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


def test_a_run_that_is_not_there(bless: Bless, tmp_path: Path) -> None:
    said = f"There are no runs in {tmp_path / 'output'} yet: catsdogs run makes the first.\n"
    assert bless("7", "--reason", "so") == (2, said)


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_decision_needs_a_reason(bless: Bless, reason: str) -> None:
    status, said = bless("7", "--reason", reason)
    assert status == 2
    assert said == "--reason is empty: say in a few words why the model is to be blessed all the same.\n"


def test_a_run_without_a_verdict(bless: Bless, tmp_path: Path) -> None:
    (tmp_path / "output" / "runs" / "7").mkdir(parents=True)
    status, said = bless("7", "--reason", "so")
    assert status == 2
    assert said.startswith("The run 7 has no verdict that could be set aside: it did not get as far as ")


@pytest.mark.slow
def test_what_can_be_set_aside_and_what_cannot(
    tiny: Any, bless: Bless, monkeypatch: pytest.MonkeyPatch
) -> None:
    blessed, refused = tiny(), tiny("evaluation.min_accuracy=0.95")
    (refused.settings.runs_dir / refused.run_id / "settings.yaml").touch()
    status, said = bless(blessed.run_id, "--reason", "so")
    assert status == 2
    assert said.endswith(f"{blessed.run_id} is blessed already: there is nothing to set aside.\n")

    with lock.hold(tiny.root, "run 2026-11-22T05-10-33"):
        status, said = bless(refused.run_id, "--reason", "so")
    assert status == 1
    assert "(run 2026-11-22T05-10-33) is at work in" in said
    noted = refused.settings.runs_dir / refused.run_id / "override.json"
    assert not noted.exists()

    decision = json.loads(bless_run.decide(refused.settings, refused.run_id, " New camera. ", "ada"))
    store = runs.open_store(refused.settings.metadata_path)
    assert store is not None
    outputs = runs.outputs(store, refused.run_id)
    model = Path(outputs["Trainer.model"].artifact.uri)
    assert decision.pop("at").endswith("+00:00")
    assert decision == {"reason": "New camera.", "by": "ada", "model": str(model)}
    assert json.loads(noted.read_text())["reason"] == "New camera."

    folder = outputs["QualityGate.blessing"].artifact.uri
    found = verdict.read(folder)
    assert found is not None
    for name in sorted(NEVER_LIFTED):
        final = Rule(name, "failed", None, None, "It cannot be.", "it cannot be")
        verdict.write(folder, replace(found, rules=[WORSE, final]))
        status, said = bless(refused.run_id, "--reason", "so")
        assert status == 2
        assert said == f"Nobody may set aside why the run {refused.run_id} was refused: It cannot be.\n"

    verdict.write(folder, found)
    model.rename(model.with_name("elsewhere"))
    status, said = bless(refused.run_id, "--reason", "so")
    assert status == 2
    assert said.startswith(f"The model of the run {refused.run_id} is gone from {model}: run its settings")
