"""Two training phases: the head on a frozen backbone, then the backbone's last blocks with it."""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import tensorflow as tf

from trainer import backbones
from trainer.checkpoints import Epoch, EpochCheckpoints
from trainer.history import History
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
) -> History:
    """Trains in place; the model ends with the weights of the best epoch of both phases on `eval_data`.

    Every finished epoch is kept in `checkpoints`: called again with the same folder, a killed training goes
    on after the last one. The folder is the caller's to remove.

    Args:
        model: What `trainer.model.with_augmentation` returned.
        backbone: The backbone inside it.
        train_data: Batches of pixels uint8 [N, size, size, 3] and labels float32 [N].
        eval_data: The same, for early stopping.
        recipe: Epochs, learning rates, the blocks to unfreeze, patience.
        checkpoints: Folder for the state of a training that is under way.
        logs: Folder for TensorBoard.

    Returns:
        What every epoch came to, and which one's weights the model has.
    """
    trained: dict[str, EpochCheckpoints] = {}
    best = ""
    for name, phase, unfrozen_blocks in (
        ("frozen", recipe.frozen, 0),
        ("fine-tuning", recipe.fine_tuning, recipe.unfrozen_blocks),
    ):
        if not phase.epochs:
            continue
        backbones.unfreeze(backbone, unfrozen_blocks)
        compile_for_training(model, phase.learning_rate)
        kept = trained[name] = EpochCheckpoints(checkpoints / name)
        _fit(model, name, phase, recipe.patience, train_data, eval_data, kept, logs / name)
        if best and _best(trained[best]).loss <= _best(kept).loss:
            _progress.info("%s did not lower the loss on eval: the earlier weights are kept", name)
        else:
            best = name
        trained[best].load_best(model)
    histories = {name: kept.history for name, kept in trained.items()}
    return History(histories, kept_phase=best, kept_epoch=_best(trained[best]).number)


def _best(kept: EpochCheckpoints) -> Epoch:
    assert kept.best is not None
    return kept.best


def _fit(
    model: keras.Model,
    name: str,
    phase: PhaseSettings,
    patience: int,
    train_data: tf.data.Dataset,
    eval_data: tf.data.Dataset,
    kept: EpochCheckpoints,
    logs: Path,
) -> None:
    if kept.last is not None:
        model.optimizer.build(model.trainable_variables)  # else its moments would not be loaded
    finished = kept.resume(model)
    if finished:
        _progress.info("%s: goes on after epoch %d of %d", name, finished, phase.epochs)
        if finished == phase.epochs or _is_stale(kept, patience):
            return
    model.fit(
        train_data,
        validation_data=eval_data,
        epochs=phase.epochs,
        initial_epoch=finished,
        verbose=2,
        callbacks=[
            keras.callbacks.TensorBoard(str(logs), write_graph=False),
            _Progress(name, phase.epochs),
            _KeepEpochs(kept, name, patience),
        ],
    )


def _is_stale(kept: EpochCheckpoints, patience: int) -> bool:
    """Whether the loss on eval has not fallen for `patience` epochs."""
    assert kept.last is not None
    return kept.last.number - _best(kept).number >= patience


class _KeepEpochs(keras.callbacks.Callback):
    """Keeps every epoch, and stops early. Keras' EarlyStopping would forget the best epoch when resumed."""

    def __init__(self, kept: EpochCheckpoints, phase: str, patience: int) -> None:
        super().__init__()
        self._kept = kept
        self._phase = phase
        self._patience = patience

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        self._kept.save(self.model, epoch + 1, logs)
        if _is_stale(self._kept, self._patience):
            _progress.info("%s: stopped early, eval loss no longer falls", self._phase)
            self.model.stop_training = True


class _Progress(keras.callbacks.Callback):
    """One line now and then within an epoch, and one with the metrics after it."""

    def __init__(self, phase: str, epochs: int) -> None:
        super().__init__()
        self._phase = phase
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
