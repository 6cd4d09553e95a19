"""Tests `catsdogs clean` and where it deletes nothing; tests/pipelines/runs tests what it keeps."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pipelines.runs import lock
from tests.pipelines.conftest import Command
from tests.pipelines.stores import PastRuns, damage, files_below

OLD, NEW = "2026-11-20T05-10-01", "2026-11-21T05-10-02"
CLEANED = ("runs", "artifacts", "checkpoints", "feature_cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An output root with two runs; `clean --keep 1` removes the older one."""
    root = tmp_path / "output"
    root.mkdir()
    past = PastRuns(root)
    past.run(OLD, "Model")
    past.run(NEW, "Model")
    (root / ".catsdogs").touch()
    return root


@pytest.fixture
def clean(catsdogs: Command, root: Path) -> Command:
    """Runs `catsdogs clean --keep 1` in the output root."""
    return lambda *arguments: catsdogs("clean", "--keep", 1, "--set", f"output_root={root}", *arguments)


def test_clean_lists_confirms_and_removes(
    clean: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = root / "artifacts" / "Trainer" / "model" / "7"
    stale.mkdir(parents=True)
    (stale / "half").write_bytes(b"x" * 3_000_000)
    removed = {stale, root / "artifacts" / "Step" / "output" / "1", root / "runs" / OLD}
    status, out, _ = clean("--dry-run")
    assert status == 0
    assert set(out.splitlines()[1:]) == {f"  {folder}" for folder in removed}
    assert "3.0 MB" in out
    assert all(folder.exists() for folder in removed)

    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    status, _, err = clean()
    assert status == 2
    assert "--yes" in err
    assert all(folder.exists() for folder in removed)

    status, out, _ = clean("--yes")
    assert status == 0
    assert "3.0 MB" in out.splitlines()[-1]
    assert not any(folder.exists() for folder in removed)
    assert (root / "runs" / NEW).exists()
    assert clean("--yes")[0] == 0


@pytest.mark.parametrize("folder", ["", "none"])
def test_without_runs_there_is_nothing_to_clean(catsdogs: Command, tmp_path: Path, folder: str) -> None:
    status, out, _ = catsdogs("clean", "--yes", "--set", f"output_root={tmp_path / folder}")
    assert status == 0
    assert str(tmp_path / folder) in out


def test_clean_fails_while_a_run_is_active(clean: Command, root: Path) -> None:
    with lock.acquire(root, f"run {NEW}"):
        start = time.monotonic()
        status, _, err = clean("--yes")
    assert status == 1
    assert NEW in err
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("folder", CLEANED)
def test_nothing_is_removed_in_a_folder_of_another_program(
    catsdogs: Command, tmp_path: Path, folder: str
) -> None:
    file = tmp_path / folder / "Step" / "output" / "1" / "file"
    file.parent.mkdir(parents=True)
    file.write_text("somebody's")
    before = files_below(tmp_path)
    for option in ("--yes", "--dry-run"):
        status, _, err = catsdogs("clean", option, "--set", f"output_root={tmp_path}")
        assert status == 2
        assert all(part in err for part in (str(tmp_path), ".catsdogs", "--set output_root=DIR"))
    assert files_below(tmp_path) == before


def test_an_output_root_of_an_earlier_version_is_not_marked_by_clean(clean: Command, root: Path) -> None:
    (root / ".catsdogs").unlink()
    before = files_below(root)
    status, _, err = clean("--yes")
    assert status == 2
    assert f"catsdogs run --set output_root={root}" in err
    assert files_below(root) == before
    (root / ".catsdogs").touch()  # as the error says for a full disk
    assert clean("--yes")[0] == 0
    assert not (root / "runs" / OLD).exists()


@pytest.mark.parametrize("how", ["missing", "garbage", "truncated", "empty"])
def test_nothing_is_removed_without_readable_metadata(clean: Command, root: Path, how: str) -> None:
    damage(root / "metadata.sqlite", how)
    before = files_below(root)
    for option in ("--yes", "--dry-run"):
        status, _, err = clean(option)
        assert status == 1
        assert len(err.splitlines()) == 1
        assert str(root / "metadata.sqlite") in err
    assert files_below(root) - {".lock"} == before


@pytest.mark.parametrize("name", CLEANED)
def test_a_linked_folder_is_refused(clean: Command, root: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    file = outside / "Step" / "output" / "7" / "file"
    file.parent.mkdir(parents=True)
    file.touch()
    if (root / name).exists():
        (root / name).rename(tmp_path / "moved")
    (root / name).symlink_to(outside)
    before = files_below(tmp_path)
    status, _, err = clean("--yes")
    assert status == 2
    assert str(root / name) in err
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", [f"runs/{OLD}", "artifacts/Step", "artifacts/.system", "checkpoints/aa"])
def test_links_inside_are_neither_followed_nor_removed(
    clean: Command, root: Path, tmp_path: Path, name: str
) -> None:
    link, outside = root / name, tmp_path / "outside"
    if link.exists():
        link.rename(outside)
    (outside / "output" / "7").mkdir(parents=True)
    (outside / "output" / "7" / "file").touch()
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    before = files_below(outside)
    status, out, _ = clean("--yes")
    assert status == (2 if name == "artifacts/Step" else 0), "its artifacts are outside the output root"
    assert str(link) not in out.splitlines()
    assert link.is_symlink()
    assert files_below(outside) == before
