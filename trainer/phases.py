"""Two training phases: the head on a frozen backbone, then the backbone's last blocks with it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from trainer import backbones
from trainer.model import compile_for_training
from trainer.recipe import PhaseSettings, TrainingSettings

_progress = logging.getLogger("catsdogs.progress")


def train(
    model: keras.Model,
    backbone: keras.Model,
    train_data: tf.data.Dataset,
    eval_data: tf.data.Dataset,
    recipe: TrainingSettings,
    checkpoints: Path,
    logs: Path,
) -> None:
    """Trains in place; the model ends with the weights of its best epoch on `eval_data`.

    After every epoch the state is kept in `checkpoints`: called again with the same folder, a killed
    training goes on after the last finished epoch. The folder is the caller's to remove.

    Args:
        model: What `trainer.model.with_augmentation` returned.
        backbone: The backbone inside it.
        train_data: Batches of pixels uint8 [N, size, size, 3] and labels float32 [N].
        eval_data: The same, for early stopping.
        recipe: Epochs, learning rates, the blocks to unfreeze, patience.
        checkpoints: Folder for the state of a training that is under way.
        logs: Folder for TensorBoard.
    """
    for name, phase, unfrozen_blocks in (
        ("frozen", recipe.frozen, 0),
        ("fine_tuning", recipe.fine_tuning, recipe.unfrozen_blocks),
    ):
        finished = checkpoints / f"{name}.weights.h5"
        if finished.exists():
            _progress.info("%s: finished before, taken from its checkpoint", _title(name))
            model.load_weights(finished)
        elif phase.epochs:
            backbones.unfreeze(backbone, unfrozen_blocks)
            compile_for_training(model, phase.learning_rate)
            _fit(model, name, phase, recipe.patience, train_data, eval_data, checkpoints, logs)
            _save_whole(model, finished)


def _fit(
    model: keras.Model,
    name: str,
    phase: PhaseSettings,
    patience: int,
    train_data: tf.data.Dataset,
    eval_data: tf.data.Dataset,
    checkpoints: Path,
    logs: Path,
) -> None:
    epochs = checkpoints / name
    finished_epochs = sorted(epochs.glob("[0-9]*.weights.h5"))
    if finished_epochs:
        _progress.info("%s: goes on after epoch %d of %d", _title(name), len(finished_epochs), phase.epochs)
        model.optimizer.build(model.trainable_variables)  # else its moments would not be loaded
        model.load_weights(finished_epochs[-1])
    history = model.fit(
        train_data,
        validation_data=eval_data,
        epochs=phase.epochs,
        initial_epoch=len(finished_epochs),
        verbose=2,
        callbacks=[
            keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True),
            keras.callbacks.TensorBoard(str(logs / name), write_graph=False),
            _Progress(name, phase.epochs),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, _: _save_whole(model, epochs / f"{epoch + 1:04}.weights.h5")
            ),
        ],
    )
    if history.epoch and history.epoch[-1] + 1 < phase.epochs:
        _progress.info("%s: stopped early, eval loss no longer falls", _title(name))
    shutil.rmtree(epochs, ignore_errors=True)


def _save_whole(model: keras.Model, path: Path) -> None:
    beside = path.with_name(f"partial-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save_weights(beside)
    beside.rename(path)


class _Progress(keras.callbacks.Callback):
    """One line now and then within an epoch, and one with the metrics after it."""

    def __init__(self, phase: str, epochs: int) -> None:
        super().__init__()
        self._phase = _title(phase)
        self._epochs = epochs
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if (batch + 1) % 5 == 0:
            steps = f"{batch + 1} of {self.params['steps']}" if self.params.get("steps") else f"{batch + 1}"
            _progress.info("%s: epoch %d of %d, step %s", self._phase, self._epoch, self._epochs, steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs:
            _progress.info(
                "%s: epoch %d of %d done, eval accuracy %.4f, eval loss %.4f",
                self._phase,
                epoch + 1,
                self._epochs,
                logs["val_accuracy"],
                logs["val_loss"],
            )


def _title(name: str) -> str:
    return name.replace("_", "-")
