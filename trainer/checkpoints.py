"""Finished epochs on disk: a killed training resumes from the last one, and ends with the best one."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

import keras

_NAME = re.compile(r"epoch-(\d+)-loss-(.+)\.weights\.h5")


class Epoch(NamedTuple):
    """The weights after one epoch.

    Attributes:
        number: Counted from 1.
        loss: On `eval`; infinite where it was no number.
        path: The weights, those of the optimizer included.
    """

    number: int
    loss: float
    path: Path


class EpochCheckpoints:
    """The best and the last epoch of one training phase.

    Args:
        folder: Where they are kept; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def last(self) -> Epoch | None:
        """The newest epoch; None before the first one has ended."""
        return max(self._epochs(), default=None)

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest loss, the earliest of equals; None before the first one has ended."""
        return min(self._epochs(), key=lambda epoch: (epoch.loss, epoch.number), default=None)

    def save(self, model: keras.Model, number: int, loss: float) -> None:
        """Keeps an epoch, whole or not at all, and drops those that are neither the best nor the last."""
        loss = math.inf if math.isnan(loss) else loss
        path = self._folder / f"epoch-{number:04}-loss-{loss!r}.weights.h5"
        beside = self._folder / "unfinished.weights.h5"
        self._folder.mkdir(parents=True, exist_ok=True)
        model.save_weights(beside)
        beside.rename(path)
        for epoch in self._epochs():
            if epoch not in (self.best, self.last):
                epoch.path.unlink()

    def _epochs(self) -> list[Epoch]:
        return sorted(
            Epoch(int(match[1]), float(match[2]), path)
            for path in self._folder.glob("epoch-*")
            if (match := _NAME.fullmatch(path.name))
        )
