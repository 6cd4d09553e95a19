from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.runs.run_record import RunRecord
from pipelines.settings.loading import dump
from tests.pipelines.conftest import Command
from tests.pipelines.stores import PastRuns, damage, files_below

OLD_RUN, NEW_RUN = "2026-11-21T05-10-33", "2026-11-22T05-10-33"


def test_help_lists_every_command_without_heavy_imports() -> None:
    script = """
import sys
from pipelines.cli import main
sys.argv = ["catsdogs", "--help"]
try:
    main()
finally:
    heavy = {"tensorflow", "tfx", "apache_beam", "kfp", "ml_metadata", "numpy", "pydantic"} & set(sys.modules)
    print("heavy:", sorted(heavy))
"""
    before = os.times()
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    after = os.times()
    commands = {"run", "runs", "report", "compare", "bless", "clean", "compile", "submit"}
    commands |= {"serve", "predict", "models", "rollback"}
    assert commands <= set(re.findall(r"\w+", shown))
    assert "heavy: []" in shown
    worked = after.children_user + after.children_system - before.children_user - before.children_system
    assert worked < 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--config", "quikstart"], ["'quikstart'", "'quickstart'"]),
        (["run", "--set", "training.bacth_size=3"], ["'training.bacth_size'", "'training.batch_size'"]),
        (["run", "--set", "data.source=folder"], ["data", "'folder'"]),
        (["run", "--images", "/no/such/folder"], ["/no/such/folder"]),
        (["run", "--set", "output_root=~nobody-of-that-name/x"], ["~nobody-of-that-name/x"]),
        (["run", "--images", "~nobody-of-that-name/x"], ["~nobody-of-that-name/x"]),
        (["runs", "--set", "training.seed"], ["KEY=VALUE", "training.seed"]),
        (["clean", "--set", "zzz=1"], ["'zzz'"]),
    ],
)
def test_invalid_settings_exit_with_2_and_one_sentence(
    catsdogs: Command, arguments: list[str], named: list[str]
) -> None:
    status, out, err = catsdogs(*arguments)
    assert (status, out) == (2, "")
    assert all(name in err for name in named)
    assert len(err.splitlines()) == 1


def test_an_error_is_printed_without_control_characters(catsdogs: Command) -> None:
    status, _, err = catsdogs("run", "--images", "/no/such\x1b[2J[/x]/folder")
    assert status == 2
    assert r"/no/such\x1b[2J[/x]/folder" in err
    assert "\x1b" not in err


@pytest.mark.parametrize("arguments", [["run", "--confg", "full"], ["rnu"], ["clean", "--keep", "0"]])
def test_invalid_usage_exits_with_2(catsdogs: Command, arguments: list[str]) -> None:
    status, _, err = catsdogs(*arguments)
    assert status == 2
    assert "Traceback" not in err
    assert "Usage" in err


def test_images_of_one_class_are_refused_before_the_run_starts(
    catsdogs: Command, folder_of: Callable[[dict[str, int]], Path], tmp_path: Path
) -> None:
    images = folder_of({"cats": 3})
    status, _, err = catsdogs("run", "--images", images, "--set", f"output_root={tmp_path / 'output'}")
    assert status == 2
    assert "dog" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "output").exists()


def test_output_to_a_full_disk_exits_with_1_and_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "runs", "--set", f"output_root={tmp_path}"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    [sentence] = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert "full" in sentence
    assert "Unexpected" not in sentence


def test_an_unwritable_output_root_exits_with_1(catsdogs: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, _, err = catsdogs("run", "--set", f"output_root={tmp_path / 'file' / 'output'}")
    assert status == 1
    assert f"{tmp_path}/file/output" in err


@pytest.mark.parametrize("there_is_room", [True, False])
def test_an_unexpected_error_prints_one_sentence_and_writes_a_traceback(
    catsdogs: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there_is_room: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path if there_is_room else tmp_path / "none"))
    monkeypatch.setattr("pipelines.runs.run_folders.load_run_records", lambda _: 1 / 0)
    status, _, err = catsdogs("runs", "--set", f"output_root={tmp_path}")
    assert status == 1
    assert len(err.splitlines()) == 1
    details = re.findall(r"\S+\.log", err)
    assert len(details) == there_is_room
    assert all("Traceback" in Path(file).read_text() for file in details)


def test_runs_without_any_run(catsdogs: Command, tmp_path: Path) -> None:
    status, out, _ = catsdogs("runs", "--set", f"output_root={tmp_path}")
    assert status == 0
    assert str(tmp_path) in out
    assert catsdogs("runs", "--json", "--set", f"output_root={tmp_path}")[1] == "[]\n"


@pytest.mark.parametrize("how", ["missing", "garbage", "truncated", "empty"])
def test_with_damaged_metadata_runs_reports_and_models_are_still_listed(
    catsdogs: Command, tmp_path: Path, how: str
) -> None:
    past = PastRuns(tmp_path)
    for run_id in (OLD_RUN, NEW_RUN):
        past.run(run_id, "Model")
        RunRecord(run_id=run_id, state="failed").write(past.settings.runs_dir / run_id)
    report = past.settings.runs_dir / OLD_RUN / "report.html"
    report.touch()
    damage(past.settings.metadata_path, how)
    root = f"output_root={tmp_path}"
    status, out, err = catsdogs("runs", "--set", root)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:]] == [NEW_RUN, OLD_RUN]
    assert catsdogs("report", "--set", root)[:2] == (0, f"{report}\n")
    assert catsdogs("models", "--set", root)[0] == 0


@pytest.mark.parametrize("how", ["garbage", "truncated", "empty"])
@pytest.mark.parametrize("command", [["run"], ["report", NEW_RUN], ["bless", NEW_RUN, "--reason", "why"]])
def test_with_damaged_metadata_a_command_that_needs_them_names_the_cure(
    catsdogs: Command, tmp_path: Path, command: list[str], how: str
) -> None:
    past = PastRuns(tmp_path)
    past.run(NEW_RUN, "Model")
    (past.settings.runs_dir / NEW_RUN / "settings.yaml").write_text(dump(past.settings))
    damage(past.settings.metadata_path, how)
    before = files_below(tmp_path)
    status, _, err = catsdogs(*command, "--set", f"output_root={tmp_path}")
    assert status == 1
    assert len(err.splitlines()) == 1
    assert f"mv {tmp_path}/metadata.sqlite {tmp_path}/metadata.sqlite.damaged" in err
    assert files_below(tmp_path) - {".lock"} == before
