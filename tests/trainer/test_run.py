from __future__ import annotations

from pathlib import Path

from trainer import examples, hardware, run

CPU = hardware.on(["CPU:0"])
CONFIG: dict[str, object] = {"recipe": {"seed": 0}}


def splits(folder: Path, train: bytes = b"some pictures", evaluation: bytes = b"others") -> list[list[str]]:
    """Two splits of one file each."""
    for split, contents in (("train", train), ("eval", evaluation)):
        (folder / split).mkdir(parents=True)
        (folder / split / "shard").write_bytes(contents)
    return [examples.files([f"{folder}/{split}/*"]) for split in ("train", "eval")]


def name(
    folder: Path, config: dict[str, object] = CONFIG, machine: hardware.Hardware = CPU, **contents: bytes
) -> str:
    """What a training of such examples is known by."""
    return run._name(config, examples.digest(splits(folder, **contents)), machine)


def test_a_training_is_known_by_its_examples_wherever_they_are(tmp_path: Path) -> None:
    assert name(tmp_path / "pod") == name(tmp_path / "retry")


def test_other_examples_or_settings_precision_or_devices_are_another_training(tmp_path: Path) -> None:
    before = name(tmp_path / "a")
    others = {
        name(tmp_path / "b", {**CONFIG, "class_names": ["ant", "bee"]}),
        name(tmp_path / "c", train=b"some pictures, one of them changed"),
        name(tmp_path / "d", machine=CPU._replace(precision="mixed_float16")),
        name(tmp_path / "e", machine=CPU._replace(devices=("GPU:0", "GPU:1"))),
    }
    assert before not in others
    assert len(others) == 4


def test_a_picture_that_changed_splits_is_noticed(tmp_path: Path) -> None:
    moved = name(tmp_path / "b", train=b"some picturesoth", evaluation=b"ers")
    assert moved != name(tmp_path / "a")
