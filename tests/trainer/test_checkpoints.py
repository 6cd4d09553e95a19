from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.checkpoints import EpochCheckpoints

INPUTS = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
LABELS = np.tile([0.0, 1.0], 4)


@pytest.fixture(autouse=True)
def _without_graphs() -> Iterator[None]:
    """Tracing a graph takes longer than these trainings of one step."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def build_network(units: int = 2) -> keras.Model:
    """Returns a small compiled network with a random layer."""
    network = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(units),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    network.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
    return network


def state(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in variables(model)]


def variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


class After(NamedTuple):
    state: list[np.ndarray]
    weights: list[np.ndarray]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def trained(folder: Path, *losses: float) -> list[After]:
    """Saves an epoch for each loss; returns the state after each of them."""
    keras.utils.set_random_seed(0)
    model, checkpoints, after = build_network(), EpochCheckpoints(folder), []
    for number, loss in enumerate(losses, start=1):
        model.fit(INPUTS, LABELS, epochs=1, verbose=0)
        checkpoints.save(model, number, {"val_loss": loss, "loss": 1.0})
        after.append(After(state(model), model.get_weights()))
    return after


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def of_another_network(path: Path) -> None:
    path.unlink()
    model = build_network(units=5)
    model.fit(INPUTS, LABELS, epochs=1, verbose=0)
    elsewhere = path.parent.parent / "elsewhere" / "frozen"
    EpochCheckpoints(elsewhere).save(model, int(path.stem[-4:]), {"val_loss": 0.1})
    shutil.copy(elsewhere / path.name, path)


DAMAGES = [truncated, emptied, of_another_network]
damaged = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


def test_a_training_resumes_with_its_complete_state(tmp_path: Path) -> None:
    after = trained(tmp_path / "frozen", 0.5, 0.3, 0.4)
    resumed, checkpoints = build_network(), EpochCheckpoints(tmp_path / "frozen")

    assert checkpoints.resume(resumed) == 3
    assert same(state(resumed), after[2].state)
    assert [epoch["val_loss"] for epoch in checkpoints.history] == [0.5, 0.3, 0.4]
    checkpoints.load_best(resumed)
    assert same(resumed.get_weights(), after[1].weights)


def test_the_best_epoch_is_the_earliest_on_a_tie_and_never_one_without_a_finite_loss(tmp_path: Path) -> None:
    trained(tmp_path / "frozen", float("nan"), 0.3, 0.3, float("nan"))
    checkpoints = EpochCheckpoints(tmp_path / "frozen")
    checkpoints.resume(build_network())
    assert checkpoints.best == (2, 0.3)
    assert checkpoints.last == (4, float("inf"))
    assert [epoch["val_loss"] for epoch in checkpoints.history] == [None, 0.3, 0.3, None]


def test_the_last_two_epochs_stay_on_disk(tmp_path: Path) -> None:
    trained(tmp_path / "frozen", 0.1, 0.2, 0.3, 0.4)
    assert {path.name for path in (tmp_path / "frozen").iterdir()} == {"epoch-0003.npz", "epoch-0004.npz"}


@damaged
def test_a_damaged_checkpoint_is_removed_and_the_one_before_it_used(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    after = trained(tmp_path / "frozen", 0.3, 0.4, 0.2)
    last = tmp_path / "frozen" / "epoch-0003.npz"
    damage(last)
    resumed, checkpoints = build_network(), EpochCheckpoints(tmp_path / "frozen")

    assert checkpoints.resume(resumed) == 2
    assert same(state(resumed), after[1].state)
    assert [epoch["epoch"] for epoch in checkpoints.history] == [1, 2]
    checkpoints.load_best(resumed)
    assert same(resumed.get_weights(), after[0].weights)
    [message] = caplog.messages
    assert str(last) in message
    assert not last.exists()


@damaged
def test_if_all_checkpoints_are_damaged_the_phase_restarts_with_its_current_weights(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained(tmp_path / "frozen", 0.3, 0.4)
    for path in (tmp_path / "frozen").iterdir():
        damage(path)
    model, checkpoints = build_network(), EpochCheckpoints(tmp_path / "frozen")
    before = model.get_weights()

    assert checkpoints.resume(model) == 0
    assert same(model.get_weights(), before)
    assert checkpoints.history == []
    assert len(caplog.messages) == 2
    model.fit(INPUTS, LABELS, epochs=1, verbose=0)
    checkpoints.save(model, 1, {"val_loss": 0.5})
    assert EpochCheckpoints(tmp_path / "frozen").resume(build_network()) == 1


def test_a_folder_removed_during_a_save_loses_only_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, checkpoints = build_network(), EpochCheckpoints(tmp_path / "frozen")
    model.fit(INPUTS, LABELS, epochs=1, verbose=0)
    savez = np.savez

    def remove_afterwards(path: Path, **arrays: Any) -> None:
        savez(path, **arrays)
        shutil.rmtree(tmp_path / "frozen")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", remove_afterwards)
        checkpoints.save(model, 1, {"val_loss": 0.3})
    assert checkpoints.best == (1, 0.3)

    checkpoints.save(model, 2, {"val_loss": 0.4})
    assert [path.name for path in (tmp_path / "frozen").iterdir()] == ["epoch-0002.npz"]
    assert checkpoints.history == [{"epoch": 1, "val_loss": 0.3}, {"epoch": 2, "val_loss": 0.4}]


def test_two_trainings_in_one_folder_each_continue_from_their_own_memory(tmp_path: Path) -> None:
    behind, ahead, models = (
        *(EpochCheckpoints(tmp_path / "frozen") for _ in range(2)),
        [build_network(), build_network()],
    )
    for model in models:
        model.fit(INPUTS, LABELS, epochs=1, verbose=0)
    for number, loss in ((1, 0.5), (2, 0.4), (3, 0.3)):
        ahead.save(models[0], number, {"val_loss": loss})
    behind.save(models[1], 1, {"val_loss": 0.6})

    assert (behind.last, ahead.last) == ((1, 0.6), (3, 0.3))
    assert {path.name for path in (tmp_path / "frozen").iterdir()} == {"epoch-0002.npz", "epoch-0003.npz"}
    weights = models[1].get_weights()
    models[1].set_weights([np.zeros_like(value) for value in weights])
    behind.load_best(models[1])
    assert same(models[1].get_weights(), weights)


def test_a_checkpoint_that_vanishes_before_it_is_loaded_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trained(tmp_path / "frozen", 0.5, 0.4)
    load = np.load

    def remove_first(path: Path) -> object:
        if path.name == "epoch-0002.npz":
            path.unlink()
        return load(path)

    monkeypatch.setattr(np, "load", remove_first)
    assert EpochCheckpoints(tmp_path / "frozen").resume(build_network()) == 1
    assert caplog.messages == []


def test_unfinished_files_are_removed_after_a_day(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trained(tmp_path / "frozen", 0.5)
    old, new = (tmp_path / "frozen" / f"unfinished-{age}.npz" for age in ("old", "new"))
    yesterday = time.time() - 25 * 3600
    for path in (old, new):
        path.write_bytes(b"unfinished")
    os.utime(old, (yesterday, yesterday))

    assert EpochCheckpoints(tmp_path / "frozen").resume(build_network()) == 1
    assert not old.exists()
    assert new.exists()
    [message] = caplog.messages
    assert str(old) in message


def test_every_saved_epoch_marks_its_training_as_used(tmp_path: Path) -> None:
    trained(tmp_path / "training" / "frozen", 0.5)
    yesterday = time.time() - 25 * 3600
    os.utime(tmp_path / "training", (yesterday, yesterday))
    trained(tmp_path / "training" / "frozen", 0.5)
    assert (tmp_path / "training").stat().st_mtime > yesterday + 3600
