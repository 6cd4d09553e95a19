"""Two training phases: the head on a frozen backbone, then the backbone's last blocks with it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from trainer import backbones
from trainer.checkpoints import Epoch, EpochCheckpoints, EpochMetrics
from trainer.model import compile_for_training
from trainer.stages import Stage

_PROGRESS_SECONDS = 1.0
_progress = logging.getLogger("catsdogs.progress")


@dataclass(frozen=True)
class History:
    """All finished epochs of a training, those before it was killed and resumed included.

    Attributes:
        phases: The epochs of every phase that was trained, by its name, in the order of training.
        kept_phase: The phase that the model's weights are from.
        kept_epoch: The epoch of that phase.
    """

    phases: dict[str, list[EpochMetrics]]
    kept_phase: str
    kept_epoch: int

    def write(self, folder: Path) -> None:
        """Writes `history.json` to a folder, which is made when needed.

        It holds `phases`, a list of `name` and `epochs`, and `kept`, which names a `phase` and an `epoch`.
        """
        content = {
            "phases": [{"name": name, "epochs": epochs} for name, epochs in self.phases.items()],
            "kept": {"phase": self.kept_phase, "epoch": self.kept_epoch},
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "history.json").write_text(
            f"{json.dumps(content, indent=2, allow_nan=False)}\n", encoding="utf-8"
        )


def train(
    stages: Sequence[Stage],
    backbone: keras.Model,
    patience: int,
    jit: bool,
    checkpoints: Path,
    logs: Path,
) -> History:
    """Trains in place; the network ends with the weights of the best epoch of all phases on `eval`.

    Every finished epoch is kept in `checkpoints`: called again with the same folder, a killed training goes
    on after the last one. The folder is the caller's to remove.

    Args:
        stages: The phases, in turn; each goes on from what the ones before came to.
        backbone: The backbone whose blocks they train.
        patience: Epochs without a better loss on `eval` after which a phase ends.
        jit: Whether XLA compiles the steps.
        checkpoints: Folder for the state of a training that is under way.
        logs: Folder for TensorBoard.

    Returns:
        What every epoch came to, and which one's weights the network has.
    """
    trained: dict[str, EpochCheckpoints] = {}
    best = ""
    for stage in stages:
        if not stage.settings.epochs:
            continue
        backbones.unfreeze(backbone, stage.unfrozen_blocks)
        steps = stage.settings.epochs * int(stage.train.cardinality())
        compile_for_training(stage.model, stage.settings.learning_rate, steps, jit)
        before = stage.model.get_weights()
        kept = trained[stage.name] = EpochCheckpoints(checkpoints / stage.name)
        _fit(stage, patience, kept, logs / stage.name)
        if best and _best(trained[best]).loss <= _best(kept).loss:
            _progress.info("%s did not lower the loss on eval: the earlier weights are kept", stage.name)
            stage.model.set_weights(before)
        else:
            best = stage.name
            kept.load_best(stage.model)
    histories = {name: kept.history for name, kept in trained.items()}
    return History(histories, kept_phase=best, kept_epoch=_best(trained[best]).number)


def _best(kept: EpochCheckpoints) -> Epoch:
    assert kept.best is not None
    return kept.best


def _fit(stage: Stage, patience: int, kept: EpochCheckpoints, logs: Path) -> None:
    finished = kept.resume(stage.model)
    if finished:
        _progress.info("%s: goes on after epoch %d of %d", stage.name, finished, stage.settings.epochs)
        if finished == stage.settings.epochs or _is_stale(kept, patience):
            return
    stage.model.fit(
        stage.train,
        validation_data=stage.evaluation,
        epochs=stage.settings.epochs,
        initial_epoch=finished,
        verbose=2,
        callbacks=[
            keras.callbacks.TensorBoard(str(logs), write_graph=False),
            _KeepEpochs(kept, stage, patience),
            _Progress(stage.name, stage.settings.epochs),  # "done" is told of what is kept
        ],
    )


def _is_stale(kept: EpochCheckpoints, patience: int) -> bool:
    """Whether the loss on eval has not fallen for `patience` epochs."""
    assert kept.last is not None
    return kept.last.number - _best(kept).number >= patience


class _KeepEpochs(keras.callbacks.Callback):
    """Keeps every epoch, and stops early. Keras' EarlyStopping would forget the best epoch when resumed."""

    def __init__(self, kept: EpochCheckpoints, stage: Stage, patience: int) -> None:
        super().__init__()
        self._kept = kept
        self._stage = stage
        self._patience = patience

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        self._kept.save(self.model, epoch + 1, logs)
        if self._stage.cache is not None:
            self._stage.cache.touch()
        if _is_stale(self._kept, self._patience):
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.model.stop_training:
            _progress.info("%s: stopped early, eval loss no longer falls", self._stage.name)


class _Progress(keras.callbacks.Callback):
    """One line now and then within an epoch, and one with the metrics after it."""

    def __init__(self, phase: str, epochs: int) -> None:
        super().__init__()
        self._phase = phase
        self._epochs = epochs
        self._epoch = 0
        self._told = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch + 1
        self._told = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if time.monotonic() - self._told > _PROGRESS_SECONDS:
            self._told = time.monotonic()
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
