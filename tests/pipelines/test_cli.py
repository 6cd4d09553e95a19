from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.runs import lock
from tests.pipelines.conftest import Command


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
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "metadata.sqlite").write_text("not a database at all " * 100)
    status, _, err = catsdogs("clean", "--set", f"output_root={tmp_path / 'output'}")
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


def test_clean_lists_confirms_and_removes(
    catsdogs: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"output_root={tmp_path}"
    assert catsdogs("clean", "--set", root)[0] == 0
    assert f"{tmp_path}/none" in catsdogs("clean", "--set", f"output_root={tmp_path}/none")[1]

    scrap = tmp_path / "artifacts" / "Trainer" / "model" / "7"
    scrap.mkdir(parents=True)
    (scrap / "half").write_bytes(b"x" * 3_000_000)
    status, out, _ = catsdogs("clean", "--dry-run", "--set", root)
    assert (status, out.splitlines()[1:]) == (0, [f"  {scrap}"])
    assert "3.0 MB" in out
    assert scrap.exists()

    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    status, _, err = catsdogs("clean", "--set", root)
    assert status == 2
    assert "--yes" in err
    assert scrap.exists()

    status, out, _ = catsdogs("clean", "--yes", "--set", root)
    assert status == 0
    assert "3.0 MB" in out.splitlines()[-1]
    assert not scrap.exists()


def test_clean_fails_while_a_run_is_active(catsdogs: Command, tmp_path: Path) -> None:
    with lock.acquire(tmp_path, "run 2026-11-22T05-10-33"):
        start = time.monotonic()
        status, _, err = catsdogs("clean", "--yes", "--set", f"output_root={tmp_path}")
    assert status == 1
    assert "2026-11-22T05-10-33" in err
    assert time.monotonic() - start < 5
