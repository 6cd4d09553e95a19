import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import toy_model
from trainer import model, training_loop
from trainer.checkpoints import EpochCheckpoints
from trainer.phases import Phase
from trainer.training_config import AugmentationConfig, PhaseConfig, TrainingConfig

CONFIG = TrainingConfig(
    image_size=32,
    weights="random",
    dropout=0.0,
    augmentation=AugmentationConfig(flip=False, rotation=0, zoom=0, contrast=0),
    frozen=PhaseConfig(epochs=2, learning_rate=1e-3),
    fine_tuning=PhaseConfig(epochs=1, learning_rate=1e-4),
    unfrozen_blocks=1,
)


METRICS = ("accuracy", "loss", "auc")


class Killed(Exception):
    """Simulates kill -9 at a given epoch."""


@pytest.fixture(autouse=True)
def _without_graphs() -> Iterator[None]:
    """Tracing the graphs takes longer than these trainings of a few steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def _data(config: TrainingConfig = CONFIG) -> tf.data.Dataset:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, [8, 32, 32, 3], np.uint8)
    return tf.data.Dataset.from_tensor_slices((pixels, np.tile([0.0, 1.0], 4).astype(np.float32))).batch(4)


def _networks() -> tuple[keras.Model, keras.Model]:
    keras.utils.set_random_seed(1)
    backbone = toy_model.backbone(32)
    return model.add_augmentation(model.build(backbone, CONFIG), CONFIG), backbone


def _phases(
    training: keras.Model, config: TrainingConfig = CONFIG, data: tf.data.Dataset | None = None
) -> list[Phase]:
    train, evaluation = data or _data(), _data()
    return [
        Phase("frozen", config.frozen, 0, training, train, evaluation),
        Phase("fine-tuning", config.fine_tuning, config.unfrozen_blocks, training, train, evaluation),
    ]


def _train(
    tmp_path: Path, data: tf.data.Dataset | None = None, config: TrainingConfig = CONFIG
) -> keras.Model:
    training, backbone = _networks()
    phases = _phases(training, config, data)
    folders = tmp_path / "checkpoints", tmp_path / "logs"
    history = training_loop.train(phases, backbone, config.patience, False, *folders)
    history.write(tmp_path)
    return training


def _history(tmp_path: Path) -> dict[str, Any]:
    """Returns the contents of `history.json`."""
    history: dict[str, Any] = json.loads((tmp_path / "history.json").read_text())
    return history


def _finished(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Returns the finished epochs, such as `frozen: epoch 1 of 2`."""
    return [text.partition(" done, ")[0] for text in caplog.messages if " done, " in text]


def _eval_losses(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Returns the loss on eval that each finished epoch logged."""
    return [float(r.getMessage().rsplit(" ", 1)[1]) for r in caplog.records if " done, " in r.getMessage()]


def _loss(model: keras.Model) -> float:
    loss: float = model.evaluate(_data(), verbose=0, return_dict=True)["loss"]
    return loss


def _train_until(
    epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TrainingConfig = CONFIG
) -> None:
    """Trains, and is killed after this many epochs of the first phase."""

    def die(self: training_loop._LogProgress, started: int, logs: dict[str, float] | None = None) -> None:
        if started == epoch:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training_loop._LogProgress, "on_epoch_begin", die)
        with pytest.raises(Killed):
            _train(tmp_path, config=config)


def test_both_phases_train_and_write_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tf.config.run_functions_eagerly(False)  # as outside tests
    caplog.set_level(logging.INFO, "catsdogs.progress")
    training, backbone = _networks()
    before = {w.path: w.numpy() for w in backbone.weights}

    folders = tmp_path / "checkpoints", tmp_path / "logs"
    history = training_loop.train(_phases(training), backbone, CONFIG.patience, False, *folders)

    assert {name: len(epochs) for name, epochs in history.phases.items()} == {"frozen": 2, "fine-tuning": 1}
    changed = {
        w.path.split("/")[0] for w in backbone.weights if not np.array_equal(before[w.path], w.numpy())
    }
    assert changed == {"block_2_project"}
    assert list((tmp_path / "logs" / "frozen").rglob("events*"))
    assert list((tmp_path / "logs" / "fine-tuning").rglob("events*"))
    assert _finished(caplog) == ["frozen: epoch 1 of 2", "frozen: epoch 2 of 2", "fine-tuning: epoch 1 of 1"]


def test_a_killed_phase_resumes_after_its_last_finished_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uninterrupted = _train(tmp_path / "uninterrupted")
    _train_until(1, tmp_path / "killed", monkeypatch)
    caplog.set_level(logging.INFO, "catsdogs.progress")
    resumed = _train(tmp_path / "killed")

    assert _finished(caplog) == ["frozen: epoch 2 of 2", "fine-tuning: epoch 1 of 1"]
    for expected, actual in zip(uninterrupted.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)

    expected, actual = _history(tmp_path / "uninterrupted"), _history(tmp_path / "killed")
    assert actual["kept"] == expected["kept"]
    assert [phase["name"] for phase in actual["phases"]] == ["frozen", "fine-tuning"]
    assert [[epoch["epoch"] for epoch in phase["epochs"]] for phase in actual["phases"]] == [[1, 2], [1]]
    for phase, expected_phase in zip(actual["phases"], expected["phases"], strict=True):
        for epoch, expected_epoch in zip(phase["epochs"], expected_phase["epochs"], strict=True):
            assert epoch.keys() == {"epoch", *METRICS, *(f"val_{name}" for name in METRICS)}
            assert epoch == pytest.approx(expected_epoch, abs=1e-4)


def test_the_best_epoch_is_selected_even_if_it_was_before_the_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "catsdogs.progress")
    worsening = CONFIG.model_copy(
        update={
            "patience": 9,
            "frozen": PhaseConfig(epochs=4, learning_rate=1.0),
            "fine_tuning": PhaseConfig(epochs=0, learning_rate=1e-3),
        }
    )
    _train_until(3, tmp_path, monkeypatch, worsening)
    resumed = _train(tmp_path, config=worsening)

    losses = _eval_losses(caplog)
    assert len(losses) == 4
    assert min(losses) < losses[3], "this config must have its best epoch before the kill"
    assert _loss(resumed) == pytest.approx(min(losses), abs=1e-3)
    history = _history(tmp_path)
    assert history["kept"] == {"phase": "frozen", "epoch": losses.index(min(losses)) + 1}
    [phase] = history["phases"]
    assert [epoch["val_loss"] for epoch in phase["epochs"]] == pytest.approx(losses, abs=1e-4)


def test_fine_tuning_that_raises_the_loss_is_discarded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "catsdogs.progress")
    destructive = CONFIG.model_copy(update={"fine_tuning": PhaseConfig(epochs=1, learning_rate=1.0)})
    trained = _train(tmp_path, config=destructive)

    losses = _eval_losses(caplog)
    assert losses[2] > losses[1]
    assert _history(tmp_path)["kept"]["phase"] == "frozen"
    assert _loss(trained) == pytest.approx(min(losses), abs=1e-3)


@pytest.mark.parametrize("removed_before", ["save", "load_best"])
def test_a_training_survives_when_the_same_training_ends_first_and_removes_the_folder(
    removed_before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "catsdogs.progress")
    original = getattr(EpochCheckpoints, removed_before)
    removed = []

    def remove_first(checkpoints: EpochCheckpoints, *arguments: Any) -> None:
        if (tmp_path / "checkpoints").exists():
            shutil.rmtree(tmp_path / "checkpoints")
            removed.append(removed_before)
        original(checkpoints, *arguments)

    monkeypatch.setattr(EpochCheckpoints, removed_before, remove_first)
    worsening = CONFIG.model_copy(
        update={
            "patience": 9,
            "frozen": PhaseConfig(epochs=4, learning_rate=1.0),
            "fine_tuning": PhaseConfig(epochs=1, learning_rate=1.0),
        }
    )
    trained = _train(tmp_path, config=worsening)

    losses = _eval_losses(caplog)
    assert removed
    assert len(losses) == 5
    assert losses[-1] > min(losses), "this config must not have its best epoch at the end"
    assert _loss(trained) == pytest.approx(min(losses), abs=1e-3)


def test_a_finished_phase_is_not_trained_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = _train(tmp_path)
    history = _history(tmp_path)
    caplog.set_level(logging.INFO, "catsdogs.progress")
    second = _train(tmp_path)

    assert _finished(caplog) == []
    assert _history(tmp_path) == history
    for expected, actual in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_phase_stops_early_and_returns_to_its_best_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "catsdogs.progress")
    wild = CONFIG.model_copy(
        update={
            "patience": 1,
            "frozen": PhaseConfig(epochs=30, learning_rate=1.0),
            "fine_tuning": PhaseConfig(epochs=0, learning_rate=1e-3),
        }
    )
    trained = _train(tmp_path, config=wild)

    assert len(_finished(caplog)) < 30
    assert _loss(trained) == pytest.approx(min(_eval_losses(caplog)), abs=1e-3)
