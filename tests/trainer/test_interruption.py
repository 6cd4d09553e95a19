"""A training that is stopped by real signals at six places, and one that finds damage, against one that runs
through.

The processes are forks of one Python that has imported the trainer. A process waits at each line that it
tells for the test to read it, so that a signal comes exactly where it is meant to.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tfx.components.trainer.fn_args_utils import FnArgs

from tests.trainer import small
from trainer import feature_pass, phases, run, weights
from trainer.feature_cache import SHARD_PICTURES
from trainer.training_config import FeatureCacheConfig, PhaseConfig, TrainingConfig

SIZE = 32
PICTURES = {"train": 2 * SHARD_PICTURES + 64, "eval": 64}
EPOCHS = 3
VIEWS = 2
RECIPE = TrainingConfig(
    image_size=SIZE,
    weights="random",
    # An epoch is one batch: a resumed training shuffles anew, and small batches in another order would differ
    # by more than what an epoch changes.
    batch_size=VIEWS * PICTURES["train"],
    dropout=0.0,
    feature_cache=FeatureCacheConfig(views=VIEWS),
    frozen=PhaseConfig(epochs=EPOCHS, learning_rate=3e-2),
    fine_tuning=PhaseConfig(epochs=EPOCHS, learning_rate=3e-3),
    unfrozen_blocks=1,
    patience=EPOCHS,
)
TOLERANCE = 1e-4  # of losses: sums in another order; `test_the_tolerance_tells_an_epoch_more_or_less`
SECONDS = 300.0  # in which a process tells its next line; many times what it takes


class Stop(NamedTuple):
    """Where a process is stopped: at which line, by which signal, and what is finished and kept then."""

    until: str
    signal: signal.Signals
    finished: list[str]
    shards: int


STOPS = [
    Stop(f"features of train: {SHARD_PICTURES + 64} of", signal.SIGTERM, [], 1),  # in the second shard
    Stop(f"features of train: {SHARD_PICTURES + 64} of", signal.SIGKILL, [], 2),  # in the third shard
    Stop("frozen: epoch 2 of 3, step 1 ", signal.SIGTERM, ["frozen: epoch 1 of 3"], 4),
    Stop("frozen: epoch 3 of 3, step 1 ", signal.SIGKILL, ["frozen: epoch 2 of 3"], 4),
    Stop(
        "fine-tuning: epoch 2 of 3, step 1 ",
        signal.SIGTERM,
        ["frozen: epoch 3 of 3", "fine-tuning: epoch 1 of 3"],
        4,
    ),
    Stop("fine-tuning: epoch 3 of 3, step 1 ", signal.SIGKILL, ["fine-tuning: epoch 2 of 3"], 4),
]

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["trainer.run", "tests.trainer.small", "tfx.components.trainer.fn_args_utils"])

pytestmark = pytest.mark.slow


class Training(NamedTuple):
    """One process.

    Attributes:
        said: Its lines, of progress and of warning.
        status: Its exit status; negative: the signal that stopped it.
        shards: The shards of features that were there when it ended, with when they were written.
    """

    said: list[str]
    status: int | None
    shards: dict[str, int]

    @property
    def finished(self) -> list[str]:
        """The epochs that it finished, such as `frozen: epoch 1 of 3`."""
        return [line.partition(" done, ")[0] for line in self.said if " done, " in line]


class _InStep(logging.Handler):
    """Sends each line to the test, and waits until it is read."""

    def __init__(self, test: Connection) -> None:
        super().__init__(logging.INFO)
        self._test = test

    def emit(self, record: logging.LogRecord) -> None:
        self._test.send(record.getMessage())
        self._test.recv()


def _run(folder: Path, test: Connection) -> None:
    """Runs in a process of its own what TFX's Trainer runs, on a network that is quick to build."""
    weights.pretrained = lambda *_: small.backbone(SIZE)
    for name in ("catsdogs.progress", "trainer"):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addHandler(_InStep(test))
    feature_pass._PROGRESS_SECONDS = phases._PROGRESS_SECONDS = -1.0  # a line for every batch
    run.run_fn(
        FnArgs(
            train_files=[str(folder / "train")],
            eval_files=[str(folder / "eval")],
            model_run_dir=str(folder / "model_run"),
            serving_model_dir=str(folder / "model"),
            custom_config={
                "recipe": RECIPE.model_dump(mode="json"),
                "class_names": ["cat", "dog"],
                "weights_fingerprint": "",
                "code_fingerprint": "",
                "checkpoint_root": str(folder / "checkpoints"),
                "feature_cache_root": str(folder / "features"),
            },
        )
    )


def training(folder: Path, until: str | None = None, stop: signal.Signals = signal.SIGKILL) -> Training:
    """Trains in a folder to the end, or until a line begins so: then the process gets a signal."""
    ours, theirs = FORKS.Pipe()
    process = FORKS.Process(target=_run, args=(folder, theirs))
    process.start()
    theirs.close()
    said: list[str] = []
    try:
        while process.exitcode is None:
            assert ours.poll(SECONDS), f"nothing more after {said}"
            try:
                said.append(ours.recv())
            except EOFError:
                break
            if until is not None and said[-1].startswith(until):
                assert process.pid is not None
                os.kill(process.pid, stop)
                break
            ours.send(None)
        process.join(SECONDS)
    finally:
        process.kill()
        ours.close()
    shards = {
        str(shard.relative_to(folder)): shard.stat().st_mtime_ns
        for shard in (folder / "features").glob("*/*/[0-9]*")
    }
    return Training(said, process.exitcode, shards)


def history(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "model_run" / "history.json").read_text())
    return found


def metrics(folder: Path) -> dict[str, list[float]]:
    """Returns what every epoch came to, by phase and metric."""
    return {
        f"{phase['name']} {name}": [epoch[name] for epoch in phase["epochs"]]
        for phase in history(folder)["phases"]
        for name in ("loss", "accuracy", "val_loss", "val_accuracy")
    }


def assert_ends_like(folder: Path, whole: Path) -> None:
    """Every epoch came to the same, and the same one was kept; the model is there."""
    expected, got = metrics(whole), metrics(folder)
    assert history(folder)["kept"] == history(whole)["kept"]
    assert got.keys() == expected.keys()
    for name, values in expected.items():
        # A picture at the border may go to either side.
        tolerance = TOLERANCE if "loss" in name else 1.01 / PICTURES["eval"]
        assert got[name] == pytest.approx(values, abs=tolerance), name
    assert (folder / "model" / "saved_model.pb").is_file()
    assert list((folder / "checkpoints").iterdir()) == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what Transform would write: cats are darker than dogs, more or less."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (split, count) in enumerate(PICTURES.items()):
        generator = np.random.default_rng(seed)

        def drawn(number: int, generator: np.random.Generator = generator) -> np.ndarray:
            colour = generator.normal(88 + 80 * (number % 2), 30, 3)
            return np.clip(generator.normal(colour, 20, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)

        small.write(folder / split, map(drawn, range(count)))
    return folder


def beside(pictures: Path, name: str) -> Path:
    return Path(shutil.copytree(pictures, pictures.with_name(f"{pictures.name}-{name}")))


@pytest.fixture(scope="module")
def whole(pictures: Path) -> Path:
    """The folder of a training that nothing stops."""
    folder = beside(pictures, "whole")
    ended = training(folder)
    assert ended.status == 0, ended.said
    assert len(ended.finished) == 2 * EPOCHS
    return folder


class Stopped(NamedTuple):
    """A training that was stopped again and again, and what each process of it came to."""

    folder: Path
    trainings: list[Training]


@pytest.fixture(scope="module")
def stopped(pictures: Path) -> Stopped:
    folder = beside(pictures, "stopped")
    return Stopped(folder, [training(folder, stop.until, stop.signal) for stop in STOPS])


class Damaged(NamedTuple):
    """A training after the last kill, and after a checkpoint was cut short and a byte of a shard flipped."""

    folder: Path
    checkpoint: Path
    kept_features: Path
    ended: Training


@pytest.fixture(scope="module")
def damaged(stopped: Stopped) -> Damaged:
    """It runs where the stopped one was, and then makes room for it again: checkpoints know their place."""
    place = stopped.folder
    undamaged = Path(shutil.copytree(place, place.with_name(f"{place.name}-undamaged")))
    checkpoint = max(place.glob("checkpoints/*/fine-tuning/epoch-*"))
    os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    [kept] = place.glob("features/*/train/00001/activations")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    ended = training(place)
    folder = place.rename(place.with_name(f"{place.name}-damaged"))
    undamaged.rename(place)
    return Damaged(folder, checkpoint, kept, ended)


@pytest.fixture(scope="module")
def resumed(stopped: Stopped, damaged: Damaged) -> Training:
    """After all six."""
    return training(stopped.folder)


def test_the_tolerance_tells_an_epoch_more_or_less(whole: Path) -> None:
    for phase in ("frozen", "fine-tuning"):
        losses = metrics(whole)[f"{phase} loss"]
        assert np.all(np.abs(np.diff(losses)) > 10 * TOLERANCE), losses


@pytest.mark.parametrize("place", range(len(STOPS)), ids=[stop.until for stop in STOPS])
def test_a_signal_ends_it_and_nothing_that_was_finished_is_done_again(
    place: int, stopped: Stopped, resumed: Training
) -> None:
    stop, ended = STOPS[place], stopped.trainings[place]
    assert ended.status == -stop.signal, ended.said
    assert ended.finished == stop.finished
    assert len(ended.shards) == stop.shards
    assert ended.shards.items() <= [*stopped.trainings, resumed][place + 1].shards.items()


def test_the_stopped_training_ends_like_the_whole_one(
    whole: Path, stopped: Stopped, resumed: Training
) -> None:
    assert resumed.status == 0, resumed.said
    assert resumed.finished == ["fine-tuning: epoch 3 of 3"]
    assert_ends_like(stopped.folder, whole)


def test_damage_is_noticed_said_and_made_good(whole: Path, stopped: Stopped, damaged: Damaged) -> None:
    ended, shard = damaged.ended, damaged.kept_features.parent
    assert ended.status == 0, ended.said
    for path in (shard, damaged.checkpoint):
        assert len([line for line in ended.said if str(path) in line]) == 1
    made_anew = dict(ended.shards.items() - stopped.trainings[-1].shards.items())
    assert list(made_anew) == [str(shard.relative_to(stopped.folder))]
    assert ended.finished == ["fine-tuning: epoch 2 of 3", "fine-tuning: epoch 3 of 3"]
    assert_ends_like(damaged.folder, whole)
