"""Trains the phases one after the other, with early stopping, checkpoints and a history of all epochs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from trainer.checkpoints import EpochCheckpoints, EpochLoss, EpochMetrics
from trainer.phases import Phase

_PROGRESS_SECONDS = 1.0
_progress = logging.getLogger("catsdogs.progress")


@dataclass(frozen=True)
class TrainingHistory:
    """All finished epochs of a training, including those before it was killed and resumed.

    Attributes:
        phases: The epochs of each trained phase, by phase name, in training order.
        best_phase: The phase that the final weights are from.
        best_epoch: The epoch of that phase, counted from 1.
    """

    phases: dict[str, list[EpochMetrics]]
    best_phase: str
    best_epoch: int

    def write(self, folder: Path) -> None:
        """Writes `history.json` to a folder and creates the folder if needed.

        The file holds `phases`, a list of `name` and `epochs`, and `kept`, a `phase` and an `epoch`.
        """
        content = {
            "phases": [{"name": name, "epochs": epochs} for name, epochs in self.phases.items()],
            "kept": {"phase": self.best_phase, "epoch": self.best_epoch},
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "history.json").write_text(
            f"{json.dumps(content, indent=2, allow_nan=False)}\n", encoding="utf-8"
        )


def train(
    phases: Sequence[Phase],
    backbone: keras.Model,
    patience: int,
    jit: bool,
    checkpoints: Path,
    logs: Path,
) -> TrainingHistory:
    """Trains in place; the network ends with the weights of the epoch with the lowest loss on `eval`.

    Saves every finished epoch in `checkpoints`. Called again with the same folder, a killed training resumes
    after the last saved epoch. The caller removes the folder.

    Args:
        phases: The phases in training order; each starts from the best weights so far.
        backbone: The backbone whose blocks they train.
        patience: Number of epochs without a lower loss on `eval` after which a phase ends.
        jit: Whether XLA compiles the training steps.
        checkpoints: Folder for the state of an unfinished training.
        logs: Folder for TensorBoard.
    """
    trained: dict[str, EpochCheckpoints] = {}
    best = ""
    for phase in phases:
        if not phase.config.epochs:
            continue
        phase.prepare(backbone, jit)
        weights_before = phase.model.get_weights()
        epochs = trained[phase.name] = EpochCheckpoints(checkpoints / phase.name)
        _fit(phase, patience, epochs, logs / phase.name)
        if best and _best_epoch(trained[best]).loss <= _best_epoch(epochs).loss:
            _progress.info("%s did not lower the loss on eval: keeping the earlier weights", phase.name)
            phase.model.set_weights(weights_before)
        else:
            best = phase.name
            epochs.load_best(phase.model)
    histories = {name: epochs.history for name, epochs in trained.items()}
    return TrainingHistory(histories, best_phase=best, best_epoch=_best_epoch(trained[best]).number)


def _best_epoch(epochs: EpochCheckpoints) -> EpochLoss:
    assert epochs.best is not None
    return epochs.best


def _fit(phase: Phase, patience: int, epochs: EpochCheckpoints, logs: Path) -> None:
    finished = epochs.resume(phase.model)
    if finished:
        _progress.info("%s: resuming after epoch %d of %d", phase.name, finished, phase.config.epochs)
        if finished == phase.config.epochs or _patience_exceeded(epochs, patience):
            return
    phase.model.fit(
        phase.train,
        validation_data=phase.evaluation,
        epochs=phase.config.epochs,
        initial_epoch=finished,
        verbose=2,
        callbacks=[
            keras.callbacks.TensorBoard(str(logs), write_graph=False),
            _SaveEpochs(epochs, phase, patience),
            _LogProgress(phase.name, phase.config.epochs),  # logs an epoch after it was saved
        ],
    )


def _patience_exceeded(epochs: EpochCheckpoints, patience: int) -> bool:
    """Returns True if the loss on `eval` has not fallen for `patience` epochs."""
    assert epochs.last is not None
    return epochs.last.number - _best_epoch(epochs).number >= patience


class _SaveEpochs(keras.callbacks.Callback):
    """Saves every epoch and stops early; Keras' EarlyStopping forgets the best epoch on resuming."""

    def __init__(self, epochs: EpochCheckpoints, phase: Phase, patience: int) -> None:
        super().__init__()
        self._epochs = epochs
        self._phase = phase
        self._patience = patience

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        self._epochs.save(self.model, epoch + 1, logs)
        if self._phase.cache is not None:
            self._phase.cache.touch()
        if _patience_exceeded(self._epochs, self._patience):
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.model.stop_training:
            _progress.info("%s: stopped early, the loss on eval no longer falls", self._phase.name)


class _LogProgress(keras.callbacks.Callback):
    """Logs a line about once a second within an epoch, and one with the metrics after it."""

    def __init__(self, phase: str, epochs: int) -> None:
        super().__init__()
        self._phase = phase
        self._epochs = epochs
        self._epoch = 0
        self._last_logged = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch + 1
        self._last_logged = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if time.monotonic() - self._last_logged > _PROGRESS_SECONDS:
            self._last_logged = time.monotonic()
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
