"""Finished epochs on disk: a killed training resumes from the last one, and ends with the best one."""

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

from trainer import leftovers

_NAME = re.compile(r"epoch-(\d+)\.npz")
_KEPT_EPOCHS = 2  # the one before is there in case that the last is damaged

# `epoch`, counted from 1 in its phase, and `accuracy`, `loss`, `auc` on `train` and, as `val_…`, on `eval`;
# None where a metric was no finite number.
EpochMetrics = dict[str, float | None]

_log = logging.getLogger(__name__)


class Epoch(NamedTuple):
    """How good the weights were after one epoch.

    Attributes:
        number: Counted from 1.
        loss: On `eval`; infinite where it was no number.
    """

    number: int
    loss: float


class _State(NamedTuple):
    """All that a training needs in order to go on after an epoch.

    Attributes:
        model: What the epoch has trained, seeds of random layers and the optimizer's variables included.
        best: The weights of the best epoch up to here.
        history: The metrics of all epochs up to here.
    """

    model: list[np.ndarray]
    best: list[np.ndarray]
    history: list[EpochMetrics]


class EpochCheckpoints:
    """The last epochs of one training phase, its best weights, and the metrics of all its epochs.

    A file holds all of it as it was after one epoch, with checksums: a damaged one is noticed, and the one
    before it used. Two processes may train the same in the same folder, such as two pods of Kubeflow: each
    goes on by what it has in memory, whatever the other saves or removes.

    Args:
        folder: Where they are kept, in the folder of a training; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history: list[EpochMetrics] = []
        self._best: list[np.ndarray] = []
        leftovers.discard_unused(folder.glob("unfinished-*"), "an unfinished checkpoint")

    @property
    def last(self) -> Epoch | None:
        """The newest epoch; None before the first one has ended or was resumed."""
        return max(self._epochs(), default=None)

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest loss, the earliest of equals; None as in `last`."""
        return min(self._epochs(), key=lambda epoch: (epoch.loss, epoch.number), default=None)

    @property
    def history(self) -> list[EpochMetrics]:
        """The metrics of all finished epochs, first epoch first."""
        return list(self._history)

    def save(self, model: keras.Model, number: int, metrics: Mapping[str, float]) -> None:
        """Keeps an epoch, whole or not at all, and drops those before the last two.

        Args:
            model: What the epoch has trained.
            number: The epoch's, counted from 1.
            metrics: What it came to; `val_loss` tells how good it is.
        """
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._history.append({"epoch": number, **finite})
        if self.best == self.last:
            self._best = model.get_weights()
        state = _State([_value(variable) for variable in _variables(model)], self._best, self._history)
        with suppress(FileNotFoundError):  # another process has just removed the folder
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(self._folder / f"epoch-{number:04}.npz", state)
            os.utime(self._folder.parent)  # see `leftovers`
        for _, path in self._files()[:-_KEPT_EPOCHS]:
            path.unlink(missing_ok=True)

    def resume(self, model: keras.Model) -> int:
        """Loads the last epoch that is whole, and returns its number; 0 if there is none.

        Damaged ones are removed. The model changes only where all of an epoch could be read and fits.

        Args:
            model: As `save` had it, compiled.
        """
        model.optimizer.build(model.trainable_variables)  # else there are none of its variables to load
        while files := self._files():
            number, path = files[-1]
            try:
                state = _read(path, model)
            except FileNotFoundError:  # another process has removed it since: look again
                continue
            except Exception as error:  # whatever damage makes of an archive of arrays
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                _log.warning("The checkpoint %s is damaged (%s): discarded.", path, reason)
                path.unlink(missing_ok=True)
                continue
            for variable, value in zip(_variables(model), state.model, strict=True):
                variable.assign(value)
            self._best, self._history = state.best, state.history
            return number
        return 0

    def load_best(self, model: keras.Model) -> None:
        """Loads the weights of the best epoch; there must be one."""
        assert self._best
        model.set_weights(self._best)

    def _epochs(self) -> list[Epoch]:
        losses = [(epoch["epoch"], epoch["val_loss"]) for epoch in self._history]
        return [Epoch(int(number or 0), math.inf if loss is None else loss) for number, loss in losses]

    def _files(self) -> list[tuple[int, Path]]:
        """Returns the epochs on disk, first epoch first."""
        named = ((_NAME.fullmatch(path.name), path) for path in self._folder.glob("epoch-*"))
        return sorted((int(match[1]), path) for match, path in named if match)


def _write(path: Path, state: _State) -> None:
    """Writes a file beside, and gives it its name when it is whole."""
    beside = path.with_name(f"unfinished-{uuid.uuid4().hex}.npz")
    arrays = {
        f"{name}-{i}": value for name in ("model", "best") for i, value in enumerate(getattr(state, name))
    }
    np.savez(beside, history=json.dumps(state.history), **arrays)
    beside.rename(path)


def _read(path: Path, model: keras.Model) -> _State:
    """Reads a file whole, which compares its checksums, and with the shapes of a model."""
    shapes = {
        "model": [tuple(variable.shape) for variable in _variables(model)],
        "best": [tuple(variable.shape) for variable in model.weights],
    }
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    history = json.loads(str(arrays.pop("history")))
    read = {name: [arrays.pop(f"{name}-{i}") for i in range(len(due))] for name, due in shapes.items()}
    if arrays or any([value.shape for value in read[name]] != due for name, due in shapes.items()):
        raise ValueError("it is of another network")
    return _State(read["model"], read["best"], history)


def _variables(model: keras.Model) -> list[Any]:
    """Returns what training changes: weights, seeds of random layers, and what the optimizer remembers."""
    return [*model.variables, *model.optimizer.variables]


def _value(variable: Any) -> np.ndarray:
    value: np.ndarray = keras.ops.convert_to_numpy(variable)
    return value
