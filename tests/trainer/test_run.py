from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from trainer import run


def arguments(folder: Path, **config: Any) -> Any:
    """What TFX hands to `run_fn`, as far as a training is known by it."""
    for split, contents in (("train", b"some pictures"), ("eval", b"others")):
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / split / "shard").write_bytes(contents)
    return SimpleNamespace(
        train_files=[f"{folder}/train/*"],
        eval_files=[f"{folder}/eval/*"],
        custom_config={"recipe": {"seed": 0}, **config},
    )


def test_a_training_is_known_by_its_examples_wherever_they_are(tmp_path: Path) -> None:
    assert run._fingerprint(arguments(tmp_path / "pod")) == run._fingerprint(arguments(tmp_path / "retry"))


def test_other_examples_or_settings_are_another_training(tmp_path: Path) -> None:
    given = arguments(tmp_path)
    before = run._fingerprint(given)
    assert run._fingerprint(arguments(tmp_path, class_names=["ant", "bee"])) != before
    (tmp_path / "train" / "shard").write_bytes(b"some pictures, one of them changed")
    assert run._fingerprint(given) != before


def test_a_picture_that_changed_splits_is_noticed(tmp_path: Path) -> None:
    before = run._fingerprint(arguments(tmp_path))
    given = arguments(tmp_path)
    (tmp_path / "train" / "shard").write_bytes(b"some picturesoth")
    (tmp_path / "eval" / "shard").write_bytes(b"ers")
    assert run._fingerprint(given) != before


@pytest.mark.parametrize(
    ("asked", "seen", "warned"),
    [("", 0, False), ("0", 0, False), ("1", 1, False), ("1", 0, True), ("2", 1, True)],
)
def test_a_gpu_that_is_not_seen_is_told(
    asked: str, seen: int, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [SimpleNamespace(name="GPU")] * seen)
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda device: {"device_name": "Tesla T4"}
    )
    monkeypatch.setenv("CATSDOGS_GPUS", asked)
    if not asked:
        monkeypatch.delenv("CATSDOGS_GPUS")
    with caplog.at_level(logging.INFO):
        run._log_devices()
    first, *others = caplog.messages
    assert first == ("Training on Tesla T4." if seen else "Training on the CPU: TensorFlow sees no GPU.")
    assert bool(others) == warned
    if warned:
        assert f"asked for, and TensorFlow sees {seen}: look whether the node has its driver" in others[0]


def test_a_gpu_whose_name_the_driver_does_not_tell_is_told_by_its_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device = SimpleNamespace(name="/physical_device:GPU:0")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [device])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: {})
    with caplog.at_level(logging.INFO):
        run._log_devices()
    assert caplog.messages == ["Training on /physical_device:GPU:0."]
