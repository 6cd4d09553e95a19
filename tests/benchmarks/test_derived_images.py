from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks import derived_images
from components.image_example_gen.sources.sample import SampleSource

CLASSES = ("cat", "dog")


def derive(folder: Path, count: int) -> dict[str, bytes]:
    derived_images.derive(SampleSource(4, 0, CLASSES), CLASSES, count, folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_each_class_gets_different_crops_of_one_size(tmp_path: Path) -> None:
    images = derive(tmp_path / "images", 10)
    numbers_of_cats, numbers_of_dogs = (0, 2, 4, 6, 8), (1, 3, 5, 7, 9)
    cats = [f"cat/{number:06}.jpg" for number in numbers_of_cats]
    assert list(images) == [*cats, *(f"dog/{number:06}.jpg" for number in numbers_of_dogs)]
    assert len(set(images.values())) == 10
    for name in images:
        with Image.open(tmp_path / "images" / name) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (256, 256))


def test_images_do_not_depend_on_how_many_are_derived(tmp_path: Path) -> None:
    few, many = derive(tmp_path / "few", 6), derive(tmp_path / "many", 10)
    assert few == {name: many[name] for name in few}


def test_a_killed_call_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = derive(tmp_path / "complete", 10)
    rename = Path.rename

    def rename_until_killed(path: Path, target: Path) -> Path:
        if target.name == "000006.jpg":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_until_killed)
    with pytest.raises(KeyboardInterrupt):
        derive(tmp_path / "images", 10)
    monkeypatch.undo()
    assert not (tmp_path / "images").exists()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("images.part/*/*.jpg")}
    assert written
    assert derive(tmp_path / "images", 10) == complete
    assert not (tmp_path / "images.part").exists()
    for path, time in written.items():
        assert (tmp_path / "images" / path.parent.name / path.name).stat().st_mtime_ns == time


def test_a_complete_folder_is_not_written_again(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert derive(tmp_path / "images", 10) == {}
