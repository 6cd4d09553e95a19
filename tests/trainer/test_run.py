from __future__ import annotations

from pathlib import Path

from trainer import datasets, hardware, run

CPU = hardware.with_devices(["CPU:0"])
CONFIG: dict[str, object] = {"training_config": {"seed": 0}}


def splits(folder: Path, train: bytes = b"some images", evaluation: bytes = b"others") -> list[list[str]]:
    """Two splits of one file each."""
    for split, contents in (("train", train), ("eval", evaluation)):
        (folder / split).mkdir(parents=True)
        (folder / split / "shard").write_bytes(contents)
    return [datasets.match_files([f"{folder}/{split}/*"]) for split in ("train", "eval")]


def training_id(
    folder: Path, config: dict[str, object] = CONFIG, devices: hardware.Hardware = CPU, **contents: bytes
) -> str:
    """Returns the id of a training on such examples."""
    return run._training_id(config, datasets.content_digest(splits(folder, **contents)), devices)


def test_the_id_does_not_depend_on_the_path_of_the_examples(tmp_path: Path) -> None:
    assert training_id(tmp_path / "pod") == training_id(tmp_path / "retry")


def test_the_id_depends_on_examples_settings_precision_and_devices(tmp_path: Path) -> None:
    before = training_id(tmp_path / "a")
    others = {
        training_id(tmp_path / "b", {**CONFIG, "class_names": ["ant", "bee"]}),
        training_id(tmp_path / "c", train=b"some images, one of them changed"),
        training_id(tmp_path / "d", devices=CPU._replace(precision="mixed_float16")),
        training_id(tmp_path / "e", devices=CPU._replace(devices=("GPU:0", "GPU:1"))),
    }
    assert before not in others
    assert len(others) == 4


def test_the_id_changes_when_an_image_moves_to_another_split(tmp_path: Path) -> None:
    moved = training_id(tmp_path / "b", train=b"some imagesoth", evaluation=b"ers")
    assert moved != training_id(tmp_path / "a")
