"""Which folders a run marks as its output root; what the mark allows is in commands/test_clean.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import InputError
from pipelines.runs import output_root
from pipelines.runs.metadata import UnreadableStore
from pipelines.settings.tree import Settings
from tests.pipelines.stores import PastRuns, damage, files_below

RUN = "2026-11-20T05-10-01"


@pytest.mark.parametrize(
    "files", [[], ["README.md", "lost+found/.keep", "serving_model/catsdogs/1/saved_model.pb"]]
)
def test_a_folder_in_which_clean_would_delete_nothing_is_marked(tmp_path: Path, files: list[str]) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    for name in ("runs", "artifacts"):
        (tmp_path / name).mkdir()
    for _ in range(2):
        output_root.check_usable(Settings(output_root=tmp_path))
        output_root.prepare(Settings(output_root=tmp_path))
        assert "catsdogs" in (tmp_path / ".catsdogs").read_text()
        assert files_below(tmp_path) == {".catsdogs", *files}


@pytest.mark.parametrize("name", ["runs", "artifacts", "checkpoints", "feature_cache"])
def test_a_folder_of_another_program_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "Step" / "output" / "7" / "file"
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(InputError) as caught:
        output_root.check_usable(Settings(output_root=tmp_path))
    assert all(part in str(caught.value) for part in (str(tmp_path / name), "--set output_root=DIR"))
    (tmp_path / ".catsdogs").touch()
    output_root.check_usable(Settings(output_root=tmp_path))


@pytest.mark.parametrize("folder", ["/", "~"])
def test_the_root_of_the_disk_and_the_home_folder_are_refused(folder: str) -> None:
    with pytest.raises(InputError, match="output_root"):
        output_root.check_usable(Settings(output_root=Path(folder).expanduser()))


@pytest.mark.parametrize("store_name", ["metadata.sqlite", "metadata.sqlite.damaged"])
def test_an_output_root_of_an_earlier_version_is_marked(tmp_path: Path, store_name: str) -> None:
    PastRuns(tmp_path).run(RUN, "Model")
    (tmp_path / "metadata.sqlite").rename(tmp_path / store_name)
    output_root.check_usable(Settings(output_root=tmp_path))
    output_root.prepare(Settings(output_root=tmp_path))
    assert (tmp_path / ".catsdogs").is_file()


def test_an_output_root_with_damaged_metadata_is_left_as_it_is(tmp_path: Path) -> None:
    PastRuns(tmp_path).run(RUN, "Model")
    damage(tmp_path / "metadata.sqlite", "garbage")
    before = files_below(tmp_path)
    with pytest.raises(UnreadableStore):
        output_root.prepare(Settings(output_root=tmp_path))
    assert files_below(tmp_path) == before
