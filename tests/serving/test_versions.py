from pathlib import Path

from serving.versions import newest, versions


def test_versions_are_the_numbered_folders_in_numeric_order(tmp_path: Path) -> None:
    for name in ("9", "10", "1700000000", "tmp", "12.part", "-3", "007", str(2**63)):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()  # a file is no version
    assert versions(tmp_path) == [9, 10, 1700000000]
    assert newest(tmp_path) == tmp_path / "1700000000"


def test_a_folder_that_is_empty_or_missing_has_no_versions(tmp_path: Path) -> None:
    assert versions(tmp_path) == []
    assert newest(tmp_path) is None
    assert versions(tmp_path / "missing") == []
    assert newest(tmp_path / "missing") is None
