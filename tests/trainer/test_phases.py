import logging
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import model, phases
from trainer.recipe import AugmentationSettings, PhaseSettings, TrainingSettings

RECIPE = TrainingSettings(
    image_size=32,
    weights="random",
    dropout=0.0,
    augmentation=AugmentationSettings(flip=False, rotation=0, zoom=0, contrast=0),
    frozen=PhaseSettings(epochs=2, learning_rate=1e-3),
    fine_tuning=PhaseSettings(epochs=1, learning_rate=1e-4),
    unfrozen_blocks=1,
)


class Killed(Exception):
    """Stands for kill -9 at a chosen place."""


def _data(recipe: TrainingSettings = RECIPE) -> tf.data.Dataset:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, [8, 32, 32, 3], np.uint8)
    return tf.data.Dataset.from_tensor_slices((pixels, np.tile([0.0, 1.0], 4).astype(np.float32))).batch(4)


def _small_backbone() -> keras.Model:
    """Two blocks, named as Keras Applications names them: real training that takes seconds."""
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu", name="block_1_project")(pixels)
    x = keras.layers.BatchNormalization(name="block_1_project_BN")(x)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="block_2_project")(x)
    return keras.Model(pixels, keras.layers.BatchNormalization(name="block_2_project_BN")(x))


def _networks() -> tuple[keras.Model, keras.Model]:
    keras.utils.set_random_seed(1)
    backbone = _small_backbone()
    return model.with_augmentation(model.build(backbone, RECIPE), RECIPE), backbone


def _train(
    tmp_path: Path, data: tf.data.Dataset | None = None, recipe: TrainingSettings = RECIPE
) -> keras.Model:
    training, backbone = _networks()
    phases.train(
        training, backbone, data or _data(), _data(), recipe, tmp_path / "checkpoints", tmp_path / "logs"
    )
    return training


def test_both_phases_run_and_leave_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "catsdogs.progress")
    training, backbone = _networks()
    before = {w.path: w.numpy() for w in backbone.weights}

    phases.train(training, backbone, _data(), _data(), RECIPE, tmp_path / "checkpoints", tmp_path / "logs")

    changed = {
        w.path.split("/")[0] for w in backbone.weights if not np.array_equal(before[w.path], w.numpy())
    }
    assert changed == {"block_2_project"}
    assert list((tmp_path / "logs" / "frozen").rglob("events*"))
    assert list((tmp_path / "logs" / "fine_tuning").rglob("events*"))
    assert "frozen: epoch 2 of 2 done, eval accuracy" in caplog.text
    assert "fine-tuning: epoch 1 of 1 done, eval accuracy" in caplog.text


def test_a_killed_phase_goes_on_after_its_last_finished_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = _train(tmp_path / "whole")

    with monkeypatch.context() as patch:

        def die(self: phases._Progress, epoch: int, logs: dict[str, float] | None = None) -> None:
            if epoch == 1:
                raise Killed

        patch.setattr(phases._Progress, "on_epoch_begin", die)
        with pytest.raises(Killed):
            _train(tmp_path / "killed")
    caplog.set_level(logging.INFO, "catsdogs.progress")
    resumed = _train(tmp_path / "killed")

    assert "frozen: epoch 1 of 2 done" not in caplog.text
    assert "frozen: epoch 2 of 2 done" in caplog.text
    assert "fine-tuning: epoch 1 of 1 done" in caplog.text
    for expected, got in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_finished_phase_is_not_trained_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = _train(tmp_path)
    caplog.set_level(logging.INFO, "catsdogs.progress")
    second = _train(tmp_path)

    assert "epoch" not in caplog.text
    assert "frozen: finished before" in caplog.text
    for expected, got in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_phase_stops_early_and_keeps_its_best_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "catsdogs.progress")
    wild = RECIPE.model_copy(
        update={
            "patience": 1,
            "frozen": PhaseSettings(epochs=30, learning_rate=1.0),
            "fine_tuning": PhaseSettings(epochs=0, learning_rate=1e-3),
        }
    )
    trained = _train(tmp_path, recipe=wild)

    losses = [float(r.getMessage().rsplit(" ", 1)[1]) for r in caplog.records if "done" in r.getMessage()]
    assert "frozen: stopped early" in caplog.text
    assert trained.evaluate(_data(), verbose=0, return_dict=True)["loss"] == pytest.approx(
        min(losses), abs=1e-3
    )


def test_a_phase_of_no_epochs_is_left_out(tmp_path: Path) -> None:
    only_head = RECIPE.model_copy(update={"fine_tuning": PhaseSettings(epochs=0, learning_rate=1e-3)})
    _train(tmp_path, recipe=only_head)
    assert not (tmp_path / "logs" / "fine_tuning").exists()
