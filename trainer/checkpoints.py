"""Saves finished epochs on disk, so that a killed training resumes from the last one."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from trainer import stale_files

_NAME = re.compile(r"epoch-(\d+)\.npz")
_KEPT_EPOCHS = 2  # if the last one is damaged, the one before it is used

# `epoch`, counted from 1 in its phase; `accuracy`, `loss` and `auc` on `train` and, as `val_…`, on `eval`.
# None replaces a value that is not finite.
EpochMetrics = dict[str, float | None]

_log = logging.getLogger(__name__)


class EpochLoss(NamedTuple):
    """The loss after one epoch.

    Attributes:
        number: The epoch, counted from 1.
        loss: Loss on `eval`; infinite if it was not finite.
    """

    number: int
    loss: float


class _CheckpointState(NamedTuple):
    """Everything that a training needs to resume after an epoch.

    Attributes:
        model: The model's variables, including seeds of random layers and the optimizer's state.
        best: The weights of the best epoch so far.
        history: The metrics of all epochs so far.
    """

    model: list[np.ndarray]
    best: list[np.ndarray]
    history: list[EpochMetrics]


class EpochCheckpoints:
    """The checkpoints, best weights and metrics of one training phase.

    Each file holds the complete state after one epoch, with checksums: if it is damaged, the one before it is
    used. Two processes, such as two Kubeflow pods, may run the same training in the same folder: each
    continues from its own memory, no matter what the other saves or removes.

    Args:
        folder: Folder of the phase inside the training's folder; created if needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history: list[EpochMetrics] = []
        self._best: list[np.ndarray] = []
        stale_files.remove_unused(folder.glob("unfinished-*"), "an unfinished checkpoint")

    @property
    def last(self) -> EpochLoss | None:
        """The last finished epoch; None before the first one."""
        return max(self._epochs(), default=None)

    @property
    def best(self) -> EpochLoss | None:
        """The epoch with the lowest loss, the earliest on a tie; None before the first one."""
        return min(self._epochs(), key=lambda epoch: (epoch.loss, epoch.number), default=None)

    @property
    def history(self) -> list[EpochMetrics]:
        """The metrics of all finished epochs, first epoch first."""
        return list(self._history)

    def save(self, model: keras.Model, number: int, metrics: Mapping[str, float]) -> None:
        """Saves an epoch atomically and removes all but the last two.

        Args:
            model: The trained model.
            number: The epoch, counted from 1.
            metrics: The metrics of the epoch; `val_loss` decides which epoch is best.
        """
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._history.append({"epoch": number, **finite})
        if self.best == self.last:
            self._best = model.get_weights()
        state = _CheckpointState(list(map(_value, _variables(model))), self._best, self._history)
        with suppress(FileNotFoundError):  # another process has just removed the folder
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(self._folder / f"epoch-{number:04}.npz", state)
            os.utime(self._folder.parent)  # in use: see `stale_files`
        for _, path in self._files()[:-_KEPT_EPOCHS]:
            path.unlink(missing_ok=True)

    def resume(self, model: keras.Model) -> int:
        """Loads the last undamaged epoch and returns its number, or 0 if there is none.

        Removes damaged checkpoints. The model changes only if a checkpoint could be read whole and fits.

        Args:
            model: The compiled model, built like the one that was saved.
        """
        model.optimizer.build(model.trainable_variables)  # creates the optimizer's variables
        while files := self._files():
            number, path = files[-1]
            try:
                state = _read(path, model)
            except FileNotFoundError:  # another process has removed it: list the files again
                continue
            except Exception as error:  # a damaged archive raises many types of errors
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                _log.warning("The checkpoint %s is damaged (%s): removed.", path, reason)
                path.unlink(missing_ok=True)
                continue
            for variable, value in zip(_variables(model), state.model, strict=True):
                variable.assign(value)
            self._best, self._history = state.best, state.history
            return number
        return 0

    def load_best(self, model: keras.Model) -> None:
        """Loads the weights of the best epoch; at least one epoch must be finished."""
        assert self._best
        model.set_weights(self._best)

    def _epochs(self) -> list[EpochLoss]:
        losses = [(epoch["epoch"], epoch["val_loss"]) for epoch in self._history]
        return [EpochLoss(int(number or 0), math.inf if loss is None else loss) for number, loss in losses]

    def _files(self) -> list[tuple[int, Path]]:
        """Returns the numbers and files of the epochs on disk, first epoch first."""
        matches = ((_NAME.fullmatch(path.name), path) for path in self._folder.glob("epoch-*"))
        return sorted((int(match[1]), path) for match, path in matches if match)


def _write(path: Path, state: _CheckpointState) -> None:
    """Writes a temporary file and renames it once it is complete."""
    temporary_path = path.with_name(f"unfinished-{uuid.uuid4().hex}.npz")
    arrays = {
        f"{name}-{i}": value for name in ("model", "best") for i, value in enumerate(getattr(state, name))
    }
    np.savez(temporary_path, history=json.dumps(state.history), **arrays)
    temporary_path.rename(path)


def _read(path: Path, model: keras.Model) -> _CheckpointState:
    """Reads a whole file, which verifies its checksums.

    Raises:
        ValueError: Its arrays do not have the shapes of the model.
    """
    shapes = {
        "model": [tuple(variable.shape) for variable in _variables(model)],
        "best": [tuple(variable.shape) for variable in model.weights],
    }
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    history = json.loads(str(arrays.pop("history")))
    values = {
        name: [arrays.pop(f"{name}-{i}") for i in range(len(wanted))] for name, wanted in shapes.items()
    }
    if arrays or any([value.shape for value in values[name]] != wanted for name, wanted in shapes.items()):
        raise ValueError("it belongs to another network")
    return _CheckpointState(values["model"], values["best"], history)


def _variables(model: keras.Model) -> list[Any]:
    """Returns what training changes: weights, seeds of random layers and the optimizer's state."""
    return [*model.variables, *model.optimizer.variables]


def _value(variable: Any) -> np.ndarray:
    value: np.ndarray = keras.ops.convert_to_numpy(variable)
    return value
