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
from trainer.model import compile_for_training

PICTURES = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
LABELS = np.tile([0.0, 1.0], 4)


@pytest.fixture(autouse=True)
def _without_graphs() -> Iterator[None]:
    """To trace a graph takes longer than these trainings of one step."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def network(units: int = 2) -> keras.Model:
    """A small network with a random layer, as trainings have, and Adam."""
    made = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(units),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    compile_for_training(made, 0.1, steps=10, jit=False)
    return made


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
    """Trains epochs, and says of each that it came to a loss; returns what was after each."""
    keras.utils.set_random_seed(0)
    model, kept, after = network(), EpochCheckpoints(folder), []
    for number, loss in enumerate(losses, start=1):
        model.fit(PICTURES, LABELS, epochs=1, verbose=0)
        kept.save(model, number, {"val_loss": loss, "loss": 1.0})
        after.append(After(state(model), model.get_weights()))
    return after


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def of_another_network(path: Path) -> None:
    path.unlink()
    model = network(units=5)
    model.fit(PICTURES, LABELS, epochs=1, verbose=0)
    elsewhere = path.parent.parent / "elsewhere" / "frozen"
    EpochCheckpoints(elsewhere).save(model, int(path.stem[-4:]), {"val_loss": 0.1})
    shutil.copy(elsewhere / path.name, path)


DAMAGES = [cut_short, emptied, of_another_network]
damaged = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


def test_a_training_resumes_with_all_that_it_had(tmp_path: Path) -> None:
    after = trained(tmp_path / "frozen", 0.5, 0.3, 0.4)
    resumed, kept = network(), EpochCheckpoints(tmp_path / "frozen")

    assert kept.resume(resumed) == 3
    assert same(state(resumed), after[2].state)
    assert [epoch["val_loss"] for epoch in kept.history] == [0.5, 0.3, 0.4]
    kept.load_best(resumed)
    assert same(resumed.get_weights(), after[1].weights)


def test_the_best_is_the_earliest_of_equals_and_no_number_is_never_good(tmp_path: Path) -> None:
    trained(tmp_path / "frozen", float("nan"), 0.3, 0.3, float("nan"))
    kept = EpochCheckpoints(tmp_path / "frozen")
    kept.resume(network())
    assert kept.best == (2, 0.3)
    assert kept.last == (4, float("inf"))
    assert [epoch["val_loss"] for epoch in kept.history] == [None, 0.3, 0.3, None]


def test_the_last_two_epochs_stay_on_disk(tmp_path: Path) -> None:
    trained(tmp_path / "frozen", 0.1, 0.2, 0.3, 0.4)
    assert {path.name for path in (tmp_path / "frozen").iterdir()} == {"epoch-0003.npz", "epoch-0004.npz"}


@damaged
def test_a_damaged_checkpoint_is_discarded_and_the_one_before_taken(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    after = trained(tmp_path / "frozen", 0.3, 0.4, 0.2)
    last = tmp_path / "frozen" / "epoch-0003.npz"
    damage(last)
    resumed, kept = network(), EpochCheckpoints(tmp_path / "frozen")

    assert kept.resume(resumed) == 2
    assert same(state(resumed), after[1].state)
    assert [epoch["epoch"] for epoch in kept.history] == [1, 2]
    kept.load_best(resumed)
    assert same(resumed.get_weights(), after[0].weights)
    [said] = caplog.messages
    assert str(last) in said
    assert not last.exists()


@damaged
def test_where_all_are_damaged_the_phase_starts_anew_with_the_weights_that_it_has(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained(tmp_path / "frozen", 0.3, 0.4)
    for path in (tmp_path / "frozen").iterdir():
        damage(path)
    model, kept = network(), EpochCheckpoints(tmp_path / "frozen")
    before = model.get_weights()

    assert kept.resume(model) == 0
    assert same(model.get_weights(), before)
    assert kept.history == []
    assert len(caplog.messages) == 2
    model.fit(PICTURES, LABELS, epochs=1, verbose=0)
    kept.save(model, 1, {"val_loss": 0.5})
    assert EpochCheckpoints(tmp_path / "frozen").resume(network()) == 1


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    [after] = trained(tmp_path / "frozen", 0.3)
    path = tmp_path / "frozen" / "epoch-0001.npz"
    content = path.read_bytes()
    model = network()
    model.optimizer.build(model.trainable_variables)
    before = state(model)
    noticed = 0
    for position in range(0, len(content), 37):
        broken = bytearray(content)
        broken[position] ^= 1 << position % 8
        path.write_bytes(broken)
        kept = EpochCheckpoints(tmp_path / "frozen")
        if kept.resume(model):  # it is of no account, such as the time in an archive's entries
            assert same(state(model), after.state)
            assert kept.history == [{"epoch": 1, "val_loss": 0.3, "loss": 1.0}]
            for variable, value in zip(variables(model), before, strict=True):
                variable.assign(value)
        else:
            assert same(state(model), before)
            noticed += 1
    assert noticed > 20


def test_a_folder_removed_while_an_epoch_is_written_costs_that_epoch_s_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kept = network(), EpochCheckpoints(tmp_path / "frozen")
    model.fit(PICTURES, LABELS, epochs=1, verbose=0)
    savez = np.savez

    def remove_afterwards(path: Path, **arrays: Any) -> None:
        savez(path, **arrays)
        shutil.rmtree(tmp_path / "frozen")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", remove_afterwards)
        kept.save(model, 1, {"val_loss": 0.3})
    assert kept.best == (1, 0.3)

    kept.save(model, 2, {"val_loss": 0.4})
    assert [path.name for path in (tmp_path / "frozen").iterdir()] == ["epoch-0002.npz"]
    assert kept.history == [{"epoch": 1, "val_loss": 0.3}, {"epoch": 2, "val_loss": 0.4}]


def test_two_trainings_in_one_folder_go_on_by_what_each_has_seen(tmp_path: Path) -> None:
    behind, ahead, models = *(EpochCheckpoints(tmp_path / "frozen") for _ in range(2)), [network(), network()]
    for model in models:
        model.fit(PICTURES, LABELS, epochs=1, verbose=0)
    for number, loss in ((1, 0.5), (2, 0.4), (3, 0.3)):
        ahead.save(models[0], number, {"val_loss": loss})
    behind.save(models[1], 1, {"val_loss": 0.6})

    assert (behind.last, ahead.last) == ((1, 0.6), (3, 0.3))
    assert {path.name for path in (tmp_path / "frozen").iterdir()} == {"epoch-0002.npz", "epoch-0003.npz"}
    weights = models[1].get_weights()
    models[1].set_weights([np.zeros_like(value) for value in weights])
    behind.load_best(models[1])
    assert same(models[1].get_weights(), weights)


def test_an_epoch_that_vanishes_before_it_is_loaded_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trained(tmp_path / "frozen", 0.5, 0.4)
    load = np.load

    def remove_first(path: Path) -> object:
        if path.name == "epoch-0002.npz":
            path.unlink()
        return load(path)

    monkeypatch.setattr(np, "load", remove_first)
    assert EpochCheckpoints(tmp_path / "frozen").resume(network()) == 1
    assert caplog.messages == []


def test_what_a_killed_process_was_writing_goes_after_a_day(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trained(tmp_path / "frozen", 0.5)
    old, new = (tmp_path / "frozen" / f"unfinished-{age}.npz" for age in ("old", "new"))
    yesterday = time.time() - 25 * 3600
    for path in (old, new):
        path.write_bytes(b"a part")
    os.utime(old, (yesterday, yesterday))

    assert EpochCheckpoints(tmp_path / "frozen").resume(network()) == 1
    assert not old.exists()
    assert new.exists()
    [said] = caplog.messages
    assert str(old) in said


def test_every_epoch_marks_its_training_as_used(tmp_path: Path) -> None:
    trained(tmp_path / "training" / "frozen", 0.5)
    yesterday = time.time() - 25 * 3600
    os.utime(tmp_path / "training", (yesterday, yesterday))
    trained(tmp_path / "training" / "frozen", 0.5)
    assert (tmp_path / "training").stat().st_mtime > yesterday + 3600
