"""Finished epochs on disk: a killed training resumes from the last one, and ends with the best one."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from trainer.history import EpochMetrics

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
    """The best and the last epoch of one training phase, and the metrics of all its epochs.

    Two processes may train the same in the same folder, such as two pods of Kubeflow. Either may remove what
    the other has saved, and the one that ends first removes the folder: the best weights that this process
    has seen stay in its memory too, and so do the metrics.

    Args:
        folder: Where they are kept; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[Epoch, list[np.ndarray]] | None = None
        self._metrics: dict[int, EpochMetrics] = {}

    @property
    def last(self) -> Epoch | None:
        """The newest epoch; None before the first one has ended."""
        return max(self._epochs(), default=None)

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest loss, the earliest of equals; None before the first one has ended."""
        return min(self._epochs(), key=_badness, default=None)

    @property
    def history(self) -> list[EpochMetrics]:
        """The metrics of all finished epochs, first epoch first."""
        self._read_metrics()
        return [self._metrics[number] for number in sorted(self._metrics)]

    def save(self, model: keras.Model, number: int, metrics: Mapping[str, float]) -> None:
        """Keeps an epoch, whole or not at all, and drops weights that are neither the best nor the last.

        Args:
            model: What the epoch has trained.
            number: The epoch's, counted from 1.
            metrics: What it came to; `val_loss` tells how good it is.
        """
        loss = math.inf if math.isnan(metrics["val_loss"]) else metrics["val_loss"]
        path = self._folder / f"epoch-{number:04}-loss-{loss!r}.weights.h5"
        self._remember(Epoch(number, loss, path), model)
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._metrics[number] = {"epoch": number, **finite}
        text = json.dumps(self._metrics[number])
        with suppress(FileNotFoundError):  # another process has just removed the folder
            self._folder.mkdir(parents=True, exist_ok=True)
            # The metrics first: an epoch is finished when its weights are there.
            _write(self._folder / f"epoch-{number:04}.json", lambda beside: beside.write_text(text))
            _write(path, model.save_weights)
        best, last = self.best, self.last
        for epoch in self._epochs():
            if epoch not in (best, last):
                epoch.path.unlink(missing_ok=True)

    def resume(self, model: keras.Model) -> int:
        """Loads the last epoch, its optimizer included, and returns its number; 0 if there is none."""
        self._read_metrics()
        while epochs := self._epochs():
            with suppress(FileNotFoundError):  # another process has removed it since: look again
                best = min(epochs, key=_badness)
                model.load_weights(best.path)
                self._remember(best, model)
                model.load_weights(epochs[-1].path)
                return epochs[-1].number
        return 0

    def load_best(self, model: keras.Model) -> None:
        """Loads the weights of the best epoch; there must be one."""
        best = self.best
        assert best is not None
        try:
            model.load_weights(best.path)
        except FileNotFoundError:
            assert self._seen is not None
            model.set_weights(self._seen[1])

    def _read_metrics(self) -> None:
        for path in self._folder.glob("epoch-*.json"):
            with suppress(FileNotFoundError):  # another process has removed it since
                metrics = json.loads(path.read_text())
                self._metrics.setdefault(metrics["epoch"], metrics)

    def _remember(self, epoch: Epoch, model: keras.Model) -> None:
        if self._seen is None or _badness(epoch) < _badness(self._seen[0]):
            self._seen = epoch, model.get_weights()

    def _epochs(self) -> list[Epoch]:
        on_disk = {
            Epoch(int(match[1]), float(match[2]), path)
            for path in self._folder.glob("epoch-*")
            if (match := _NAME.fullmatch(path.name))
        }
        return sorted(on_disk | ({self._seen[0]} if self._seen else set()))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside, and gives it its name when it is whole."""
    beside = path.with_name(f"unfinished-{uuid.uuid4().hex}-{path.name}")
    write(beside)
    beside.rename(path)


def _badness(epoch: Epoch) -> tuple[float, int]:
    return epoch.loss, epoch.number
