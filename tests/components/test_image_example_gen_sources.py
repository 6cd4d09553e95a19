"""Folders and drawn images as sources, without TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from components.image_example_gen.sources import check_source, open_source
from components.image_example_gen.sources.base import ImageRejected, class_index, map_source_splits
from components.image_example_gen.sources.folder import FolderSource
from components.image_example_gen.sources.sample import SampleSource

CLASSES = ("cat", "dog")
FolderOf = Callable[[Mapping[str, int]], Path]


def check(folder: Path) -> None:
    check_source({"kind": "folder", "folder": str(folder)}, CLASSES)


def images(folder: Path) -> dict[str, Any]:
    source = FolderSource(folder, CLASSES)
    return {image.filename: image for portion in source.portions() for image in source.read(portion)}


@pytest.mark.parametrize("name", ["cat", "Cat", "cats", "CATS"])
def test_class_is_found_in_singular_and_plural_and_any_case(name: str) -> None:
    assert class_index(name, CLASSES) == 0
    assert class_index("dog", ["Cats", "Dogs"]) == 1
    assert class_index("puppies", ["kitty", "puppy"]) == 1
    assert class_index("foxes", ["fox", "dog"]) == 0


@pytest.mark.parametrize("name", ["cate", "ca", "catss", "kitten", ""])
def test_other_names_match_no_class(name: str) -> None:
    assert class_index(name, CLASSES) is None


def test_flat_folder(folder_of: FolderOf) -> None:
    found = images(folder_of({"Cats": 3, "dog": 2}))
    assert sorted((p.label, p.folder, p.splits) for p in found.values()) == [
        *[(0, "Cats", ("train", "eval", "test"))] * 3,
        *[(1, "dog", ("train", "eval", "test"))] * 2,
    ]


@pytest.mark.parametrize("name", ["validation", "val", "test", "Test"])
def test_the_only_other_split_becomes_test(folder_of: FolderOf, name: str) -> None:
    found = images(folder_of({"train/cat": 1, "train/dog": 1, f"{name}/cat": 1, f"{name}/dog": 1}))
    assert {(p.folder, p.splits) for p in found.values()} == {
        ("train/cat", ("train", "eval")),
        ("train/dog", ("train", "eval")),
        (f"{name}/cat", ("test",)),
        (f"{name}/dog", ("test",)),
    }


def test_validation_becomes_eval_and_test_stays_test(folder_of: FolderOf) -> None:
    root = folder_of({f"{part}/{name}": 1 for part in ("train", "validation", "test") for name in CLASSES})
    assert {(p.folder.split("/")[0], p.splits) for p in images(root).values()} == {
        ("train", ("train",)),
        ("validation", ("eval",)),
        ("test", ("test",)),
    }


def test_train_alone_is_split_like_a_flat_folder(folder_of: FolderOf) -> None:
    found = images(folder_of({"train/cat": 1, "train/dog": 1}))
    assert {p.splits for p in found.values()} == {("train", "eval", "test")}
    assert map_source_splits(has_validation=False, has_test=False) == {"train": ("train", "eval", "test")}


def test_nested_folders_and_system_files(folder_of: FolderOf) -> None:
    root = folder_of({"cat/tabby/young": 2, "dog": 1})
    for litter in ("cat/.DS_Store", "cat/Thumbs.db", ".hidden"):
        (root / litter).write_bytes(b"litter")
    assert sorted(images(root)) == [
        "cat/tabby/young/0000.jpg",
        "cat/tabby/young/0001.jpg",
        "dog/0002.jpg",
    ]


def test_links_that_lead_out_of_the_folder_are_followed_and_listed(
    folder_of: FolderOf, tmp_path: Path, make_image: Callable[..., bytes]
) -> None:
    root = folder_of({"cat": 1})
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "deep/c.jpg"):
        (elsewhere / name).write_bytes(make_image(len(name)))
    (root / "dog").symlink_to(elsewhere / "deep")
    (root / "cat" / "link.jpg").symlink_to(elsewhere / "a.jpg")
    (root / "cat" / "inside.jpg").symlink_to("0000.jpg")
    found = images(root)
    assert sorted(found) == ["cat/0000.jpg", "cat/link.jpg", "dog/c.jpg"]
    assert found["cat/link.jpg"].read() == make_image(len("a.jpg"))
    assert FolderSource(root, CLASSES).outside_links() == [f"{root}/dog", f"{root}/cat/link.jpg"]


def test_each_file_counts_once_under_its_own_name(folder_of: FolderOf) -> None:
    root = folder_of({"cat/tabby": 2, "dog": 1})
    (root / "cat" / "a.jpg").symlink_to("tabby/0000.jpg")
    (root / "cat" / "again").symlink_to("tabby")
    (root / "cat" / "loop").symlink_to(".")
    (root / "Cats").symlink_to("cat")
    assert sorted(images(root)) == ["cat/tabby/0000.jpg", "cat/tabby/0001.jpg", "dog/0002.jpg"]


def test_a_hard_link_and_a_copy_are_files_of_their_own(folder_of: FolderOf) -> None:
    root = folder_of({"cat": 1, "dog": 1})
    (root / "dog" / "same.jpg").hardlink_to(root / "cat" / "0000.jpg")
    assert sorted(images(root)) == ["cat/0000.jpg", "dog/0001.jpg", "dog/same.jpg"]


def test_a_file_in_two_splits_counts_in_both(folder_of: FolderOf) -> None:
    root = folder_of({"train/cat": 1, "train/dog": 1, "test/dog": 1})
    (root / "test" / "cat").symlink_to("../train/cat")
    assert sorted(images(root)) == [
        "test/cat/0000.jpg",
        "test/dog/0002.jpg",
        "train/cat/0000.jpg",
        "train/dog/0001.jpg",
    ]


@pytest.mark.parametrize(
    ("link", "target", "paths"),
    [
        ("cat/loop", "..", ["/dog", "/cat/loop/dog"]),
        ("cat/link.jpg", "../dog/0001.jpg", ["/dog/0001.jpg", "/cat/link.jpg"]),
        ("dog/more", "../cat/deep", ["/cat/deep", "/dog/more"]),
        ("Cats", "dog", ["/dog", "/Cats"]),
    ],
)
def test_a_link_that_gives_a_file_both_classes_is_an_error(
    folder_of: FolderOf, link: str, target: str, paths: list[str]
) -> None:
    root = folder_of({"cat": 1, "dog": 1, "cat/deep": 1})
    (root / link).symlink_to(target)
    with pytest.raises(InputError) as error:
        check(root)
    assert named(error, "'cat'", "'dog'", *(f"'{root}{path}'" for path in paths))


def test_a_file_outside_the_folder_that_both_classes_link_to_is_an_error(
    folder_of: FolderOf, tmp_path: Path
) -> None:
    root = folder_of({"cat": 1, "dog": 1})
    (tmp_path / "either.jpg").touch()
    for name in CLASSES:
        (root / name / "link.jpg").symlink_to(tmp_path / "either.jpg")
    with pytest.raises(InputError) as error:
        check(root)
    assert named(error, f"'{root}/cat/link.jpg'", f"'{root}/dog/link.jpg'")


def test_crossing_links_are_followed_once(folder_of: FolderOf) -> None:
    folders = [f"cat/{number}" for number in range(12)]
    root = folder_of({"dog": 1} | dict.fromkeys(folders, 1))
    for folder in folders:
        for number in range(12):
            (root / folder / f"to-{number}").symlink_to(f"../{number}")
    assert len(images(root)) == 13


def test_a_folder_deeper_than_the_recursion_limit_is_read(folder_of: FolderOf) -> None:
    root = folder_of({"cat": 1, "dog": 1})
    deepest = root / "cat" / "/".join(["deep"] * 300)
    deepest.mkdir(parents=True)
    (deepest / "1.jpg").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(250)  # a folder deeper than the usual 1,000 could not be deleted by pytest
    try:
        assert len(images(root)) == 3
    finally:
        sys.setrecursionlimit(limit)


def test_unreadable_files_are_listed(folder_of: FolderOf) -> None:
    root = folder_of({"cat": 1, "dog": 1})
    for name in CLASSES:
        (root / name / "dangling.jpg").symlink_to(root / "nowhere.jpg")
    (root / "cat" / "itself.jpg").symlink_to("itself.jpg")
    (root / "itself").symlink_to("itself")
    found = images(root)
    assert len(found) == 5
    for name in ("cat/dangling.jpg", "dog/dangling.jpg", "cat/itself.jpg"):
        with pytest.raises(OSError, match=name):
            found[name].read()


def test_only_regular_files_are_read(folder_of: FolderOf) -> None:
    root = folder_of({"cat": 1, "dog": 1})
    os.mkfifo(root / "cat" / "pipe.jpg")
    (root / "cat" / "zero.jpg").symlink_to("/dev/zero")
    found = images(root)
    for name in ("cat/pipe.jpg", "cat/zero.jpg"):
        with pytest.raises(ImageRejected) as rejection:
            found[name].read()
        assert rejection.value.reason == "not a file"
    (root / "cat" / "0000.jpg").unlink()
    os.mkfifo(root / "cat" / "0000.jpg")  # after the folder was listed
    with pytest.raises(ImageRejected):
        found["cat/0000.jpg"].read()
    assert found["dog/0001.jpg"].read()


def test_names_that_are_not_utf8_are_written_with_escapes(
    folder_of: FolderOf, make_image: Callable[..., bytes]
) -> None:
    root = folder_of({"cat": 1, "dog": 1})
    with open(os.fsencode(root) + b"/cat/\xff.jpg", "wb") as file:  # noqa: PTH123
        file.write(make_image(7))
    assert images(root)["cat/\\udcff.jpg"].read() == make_image(7)


def test_files_outside_the_class_folders_are_logged(
    folder_of: FolderOf, caplog: pytest.LogCaptureFixture
) -> None:
    root = folder_of({"cat": 1, "dog": 1})
    (root / "README.txt").write_text("about")
    assert len(images(root)) == 2
    assert "README.txt" in caplog.text


def test_portions_mix_the_classes_and_are_the_same_every_time(folder_of: FolderOf) -> None:
    root = folder_of({"cat": 60, "dog": 60})
    source = FolderSource(root, CLASSES)
    portions = source.portions()
    assert portions == FolderSource(root, CLASSES).portions()
    assert sum(map(len, portions)) == source.count() == 120
    for portion in portions:
        assert 0.2 < sum(file.label for file in portion) / len(portion) < 0.8


def test_accepted_sources(folder_of: FolderOf, tmp_path: Path) -> None:
    check(folder_of({"cats": 1, "dogs": 1}))
    check_source({"kind": "sample", "count": 4, "seed": 0}, CLASSES)
    check_source({"kind": "sample", "count": 4, "seed": 0}, ["Dogs", "cats"])
    (tmp_path / "cats_vs_dogs").mkdir()
    check_source(
        {"kind": "tfds", "builder": "cats_vs_dogs:4.0.1", "data_dir": str(tmp_path), "download": False},
        CLASSES,
    )


def named(error: pytest.ExceptionInfo[InputError], *values: str) -> bool:
    """Returns True if the message names all values."""
    return all(value in str(error.value) for value in values)


@pytest.mark.parametrize("use", [check_source, open_source])
def test_unknown_source(use: Callable[[Mapping[str, Any], Sequence[str]], object]) -> None:
    with pytest.raises(InputError) as error:
        use({"kind": "web"}, CLASSES)
    assert named(error, "'web'", "folder", "sample", "tfds")


def test_missing_and_unreadable_folder_and_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "itself").symlink_to("itself")
    for path in (tmp_path / "nowhere", tmp_path / "file", tmp_path / "itself", tmp_path / ("x" * 300)):
        with pytest.raises(InputError) as error:
            check(path)
        assert named(error, str(path))


VALIDATION_TWICE = {f"{part}/{name}": 1 for part in ("train", "val", "validation") for name in CLASSES}


@pytest.mark.parametrize(
    ("layout", "values"),
    [
        ({}, ["/cat", "/dog"]),
        ({"cats": 2, "dogs": 0}, ["'dog'", "/dogs"]),
        ({"cats": 2}, ["'cats'", "'dog'"]),
        ({"train/cats": 1, "train/dogs": 1, "validation/cats": 1}, ["/validation", "'cats'", "'dog'"]),
        ({"cats": 1, "dogs": 1, "birds": 1}, ["'birds'", "'cat'", "'dog'"]),
        ({"birds": 1, "fish": 1}, ["'birds'", "'fish'", "'cat'", "'dog'", "data.class_names"]),
        ({"cats": 1, "train/cats": 1, "train/dogs": 1}, ["'cats'", "'train'"]),
        ({"test/cats": 1, "test/dogs": 1}, ["'test'", "'train'"]),
        (VALIDATION_TWICE, ["/val ", "/validation ", "validation"]),
    ],
    ids=[
        "empty",
        "empty class",
        "one class",
        "one class in a split",
        "third class",
        "other classes",
        "classes besides splits",
        "no train",
        "a split twice",
    ],
)
def test_invalid_layouts_raise_input_error(
    folder_of: FolderOf, layout: dict[str, int], values: list[str]
) -> None:
    folder = folder_of(layout)
    folder.mkdir(exist_ok=True)
    with pytest.raises(InputError) as error:
        check(folder)
    assert named(error, *values)


@pytest.mark.parametrize("name", ["", "cats", "cats/deep"])
def test_unreadable_folder(unprivileged: Path, name: str) -> None:
    for folder in ("cats/deep", "dogs"):
        (unprivileged / folder).mkdir(parents=True)
        (unprivileged / folder / "1.jpg").write_bytes(b"bytes")
    check(unprivileged)
    (unprivileged / name).chmod(0)
    try:
        with pytest.raises(InputError) as error:
            check(unprivileged)
        assert named(error, str(unprivileged / name), "Permission denied")
    finally:
        (unprivileged / name).chmod(0o700)


def test_class_that_is_a_link_to_an_unreadable_folder(unprivileged: Path) -> None:
    for folder in ("shut/cats", "images/dogs"):
        (unprivileged / folder).mkdir(parents=True)
        (unprivileged / folder / "1.jpg").write_bytes(b"bytes")
    link = unprivileged / "images/cats"
    link.symlink_to(unprivileged / "shut/cats")
    check(link.parent)
    (unprivileged / "shut").chmod(0)
    try:
        for path in (link.parent, link):
            with pytest.raises(InputError) as error:
                check(path)
            assert named(error, str(link), "Permission denied")
    finally:
        (unprivileged / "shut").chmod(0o700)


def test_unprepared_builder(tmp_path: Path) -> None:
    source = {"kind": "tfds", "builder": "cats_vs_dogs/x:4.0.1", "data_dir": str(tmp_path)}
    check_source(source | {"download": True}, CLASSES)
    with pytest.raises(InputError) as error:
        check_source(source | {"download": False}, CLASSES)
    assert named(error, "cats_vs_dogs", str(tmp_path), "data.tfds.download")


@pytest.mark.parametrize("class_names", [["cat", "horse"], ["cat", "cats"]])
def test_classes_that_cannot_be_drawn(class_names: list[str]) -> None:
    with pytest.raises(InputError) as error:
        check_source({"kind": "sample", "count": 4, "seed": 0}, class_names)
    assert named(error, *class_names, "data.class_names", "--images")


def test_check_imports_nothing_heavy() -> None:
    program = (
        "import sys; import components.image_example_gen.sources as s\n"
        "s.check_source({'kind': 'sample', 'count': 4, 'seed': 0}, ['cat', 'dog'])\n"
        "s.check_source({'kind': 'tfds', 'builder': 'x', 'download': True}, ['cat', 'dog'])\n"
        "heavy = {'tensorflow', 'tfx', 'apache_beam', 'tensorflow_datasets', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_sample_draws_equal_numbers_of_each_class() -> None:
    source = SampleSource(10, 0, ["dog", "cat"])
    found = [image for portion in source.portions() for image in source.read(portion)]
    assert source.count() == len(found) == len({p.filename for p in found}) == 10
    assert [p.label for p in found] == [0, 1] * 5
    assert [p.filename.split("/")[0] for p in found] == ["dog", "cat"] * 5
    others = [SampleSource(10, 1, CLASSES), SampleSource(9, 0, CLASSES), SampleSource(10, 0, CLASSES)]
    assert len({other.fingerprint() for other in others}) == 3


def test_sample_labels_follow_the_class_names() -> None:
    from components.image_example_gen.drawing import CAT, jpeg

    def second(class_names: list[str]) -> bytes:
        source = SampleSource(2, 0, class_names)
        return next(p for portion in source.portions() for p in source.read(portion) if p.label == 1).read()

    assert second(["cat", "dog"]) != second(["dog", "cat"]) == jpeg(1, 0, CAT)


def test_fingerprint_of_a_folder_changes_with_its_files(
    folder_of: FolderOf, make_image: Callable[..., bytes]
) -> None:
    root = folder_of({"cats": 2, "dogs": 2})
    file = root / "cats" / "0000.jpg"
    seen = [FolderSource(root, CLASSES).fingerprint()]

    def changed() -> bool:
        seen.append(FolderSource(root, CLASSES).fingerprint())
        return seen[-1] not in seen[:-1]

    assert not changed()
    (root / "cats" / ".DS_Store").touch()
    assert not changed()
    (root / "cats" / "new.jpg").write_bytes(make_image(50))
    assert changed()
    file.rename(root / "dogs" / "0000.jpg")
    assert changed()
    (root / "dogs" / "0000.jpg").rename(root / "dogs" / "renamed.jpg")
    assert changed()
    os.utime(root / "dogs" / "renamed.jpg", ns=(0, 123456789))
    assert changed()
    (root / "cats" / "new.jpg").unlink()
    assert changed()
