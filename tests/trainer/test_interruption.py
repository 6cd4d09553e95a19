"""Compares a training stopped by six signals, and one that finds damaged files, with an uninterrupted one.

The processes are forks of one Python process that has imported the trainer. After each log line, a process
waits until the test has read it, so that each signal arrives at an exact point.
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

from tests.trainer import toy_model
from trainer import feature_extraction, run, training_loop, weights
from trainer.feature_cache import SHARD_IMAGES
from trainer.training_config import FeatureCacheConfig, PhaseConfig, TrainingConfig

SIZE = 32
IMAGES = {"train": 2 * SHARD_IMAGES + 64, "eval": 64}
EPOCHS = 3
VIEWS = 2
CONFIG = TrainingConfig(
    image_size=SIZE,
    weights="random",
    # An epoch is one batch: a resumed training shuffles differently, and small batches in another order would
    # change the weights by more than an epoch does.
    batch_size=VIEWS * IMAGES["train"],
    dropout=0.0,
    feature_cache=FeatureCacheConfig(views=VIEWS),
    frozen=PhaseConfig(epochs=EPOCHS, learning_rate=3e-2),
    fine_tuning=PhaseConfig(epochs=EPOCHS, learning_rate=3e-3),
    unfrozen_blocks=1,
    patience=EPOCHS,
)
TOLERANCE = 1e-4  # of losses, because sums are in another order
TIMEOUT = 300.0  # seconds until the next log line; many times what it takes


class Stop(NamedTuple):
    """A log line at which a signal stops the process, and the epochs and shards that are finished by then."""

    until: str
    signal: signal.Signals
    finished: list[str]
    shards: int


STOPS = [
    Stop(f"features of train: {SHARD_IMAGES + 64} of", signal.SIGTERM, [], 1),  # in the second shard
    Stop(f"features of train: {SHARD_IMAGES + 64} of", signal.SIGKILL, [], 2),  # in the third shard
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
FORKS.set_forkserver_preload(
    ["trainer.run", "tests.trainer.toy_model", "tfx.components.trainer.fn_args_utils"]
)

pytestmark = pytest.mark.slow


class Training(NamedTuple):
    """One process.

    Attributes:
        log: Its progress and warning messages.
        status: Its exit status; negative if a signal ended it.
        shards: The cached shards after it ended, with their modification times.
    """

    log: list[str]
    status: int | None
    shards: dict[str, int]

    @property
    def finished(self) -> list[str]:
        """The finished epochs, such as `frozen: epoch 1 of 3`."""
        return [line.partition(" done, ")[0] for line in self.log if " done, " in line]


class _WaitingHandler(logging.Handler):
    """Sends each message to the test and waits until the test has read it."""

    def __init__(self, test: Connection) -> None:
        super().__init__(logging.INFO)
        self._test = test

    def emit(self, record: logging.LogRecord) -> None:
        self._test.send(record.getMessage())
        self._test.recv()


def _run(folder: Path, test: Connection) -> None:
    """Calls `run_fn` with a small backbone; the target of a separate process."""
    weights.load_backbone = lambda *_: toy_model.backbone(SIZE)
    for name in ("catsdogs.progress", "trainer"):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addHandler(_WaitingHandler(test))
    feature_extraction._PROGRESS_SECONDS = training_loop._PROGRESS_SECONDS = -1.0  # a line for every batch
    run.run_fn(
        FnArgs(
            train_files=[str(folder / "train")],
            eval_files=[str(folder / "eval")],
            model_run_dir=str(folder / "model_run"),
            serving_model_dir=str(folder / "model"),
            custom_config={
                "training_config": CONFIG.model_dump(mode="json"),
                "class_names": ["cat", "dog"],
                "weights_fingerprint": "",
                "code_fingerprint": "",
                "max_pixels": 50_000_000,
                "checkpoint_root": str(folder / "checkpoints"),
                "feature_cache_root": str(folder / "features"),
            },
        )
    )


def training(folder: Path, until: str | None = None, stop: signal.Signals = signal.SIGKILL) -> Training:
    """Trains in a folder to the end, or until a message starts with `until`, and then sends the signal."""
    ours, theirs = FORKS.Pipe()
    process = FORKS.Process(target=_run, args=(folder, theirs))
    process.start()
    theirs.close()
    log: list[str] = []
    try:
        while process.exitcode is None:
            assert ours.poll(TIMEOUT), f"nothing more after {log}"
            try:
                log.append(ours.recv())
            except EOFError:
                break
            if until is not None and log[-1].startswith(until):
                assert process.pid is not None
                os.kill(process.pid, stop)
                break
            ours.send(None)
        process.join(TIMEOUT)
    finally:
        process.kill()
        ours.close()
    shards = {
        str(shard.relative_to(folder)): shard.stat().st_mtime_ns
        for shard in (folder / "features").glob("*/*/[0-9]*")
    }
    return Training(log, process.exitcode, shards)


def load_history(folder: Path) -> dict[str, Any]:
    history: dict[str, Any] = json.loads((folder / "model_run" / "history.json").read_text())
    return history


def metrics(folder: Path) -> dict[str, list[float]]:
    """Returns the metrics of all epochs, by phase and metric."""
    return {
        f"{phase['name']} {name}": [epoch[name] for epoch in phase["epochs"]]
        for phase in load_history(folder)["phases"]
        for name in ("loss", "accuracy", "val_loss", "val_accuracy")
    }


def assert_ends_like(folder: Path, uninterrupted: Path) -> None:
    """Asserts equal metrics in every epoch, the same best epoch and an exported model."""
    expected, actual = metrics(uninterrupted), metrics(folder)
    assert load_history(folder)["kept"] == load_history(uninterrupted)["kept"]
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        # The prediction of an image near the threshold may differ.
        tolerance = TOLERANCE if "loss" in name else 1.01 / IMAGES["eval"]
        assert actual[name] == pytest.approx(values, abs=tolerance), name
    assert (folder / "model" / "saved_model.pb").is_file()
    assert list((folder / "checkpoints").iterdir()) == []


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of transformed examples, in which cats tend to be darker than dogs."""
    folder = tmp_path_factory.mktemp("images")
    for seed, (split, count) in enumerate(IMAGES.items()):
        generator = np.random.default_rng(seed)

        def draw(number: int, generator: np.random.Generator = generator) -> np.ndarray:
            colour = generator.normal(88 + 80 * (number % 2), 30, 3)
            return np.clip(generator.normal(colour, 20, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)

        toy_model.write_examples(folder / split, map(draw, range(count)))
    return folder


def copy_folder(images: Path, name: str) -> Path:
    return Path(shutil.copytree(images, images.with_name(f"{images.name}-{name}")))


@pytest.fixture(scope="module")
def uninterrupted(images: Path) -> Path:
    """The folder of an uninterrupted training."""
    folder = copy_folder(images, "uninterrupted")
    ended = training(folder)
    assert ended.status == 0, ended.log
    assert len(ended.finished) == 2 * EPOCHS
    return folder


class Stopped(NamedTuple):
    """A training that was stopped six times, and its processes."""

    folder: Path
    trainings: list[Training]


@pytest.fixture(scope="module")
def stopped(images: Path) -> Stopped:
    folder = copy_folder(images, "stopped")
    return Stopped(folder, [training(folder, stop.until, stop.signal) for stop in STOPS])


class Damaged(NamedTuple):
    """A training resumed after a checkpoint was truncated and a byte of a shard flipped."""

    folder: Path
    checkpoint: Path
    features: Path
    ended: Training


@pytest.fixture(scope="module")
def damaged(stopped: Stopped) -> Damaged:
    """Trains in the folder of the stopped training, because checkpoints depend on their path; restores it."""
    original = stopped.folder
    undamaged = Path(shutil.copytree(original, original.with_name(f"{original.name}-undamaged")))
    checkpoint = max(original.glob("checkpoints/*/fine-tuning/epoch-*"))
    os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    [activations] = original.glob("features/*/train/00001/activations")
    content = bytearray(activations.read_bytes())
    content[len(content) // 2] ^= 1
    activations.write_bytes(content)
    ended = training(original)
    folder = original.rename(original.with_name(f"{original.name}-damaged"))
    undamaged.rename(original)
    return Damaged(folder, checkpoint, activations, ended)


@pytest.fixture(scope="module")
def resumed(stopped: Stopped, damaged: Damaged) -> Training:
    """The process that resumes after the last signal."""
    return training(stopped.folder)


def test_the_tolerance_is_far_below_the_change_of_an_epoch(uninterrupted: Path) -> None:
    for phase in ("frozen", "fine-tuning"):
        losses = metrics(uninterrupted)[f"{phase} loss"]
        assert np.all(np.abs(np.diff(losses)) > 10 * TOLERANCE), losses


@pytest.mark.parametrize("index", range(len(STOPS)), ids=[stop.until for stop in STOPS])
def test_a_signal_ends_the_process_and_finished_work_is_not_repeated(
    index: int, stopped: Stopped, resumed: Training
) -> None:
    stop, ended = STOPS[index], stopped.trainings[index]
    assert ended.status == -stop.signal, ended.log
    assert ended.finished == stop.finished
    assert len(ended.shards) == stop.shards
    assert ended.shards.items() <= [*stopped.trainings, resumed][index + 1].shards.items()


def test_the_stopped_training_ends_like_the_uninterrupted_one(
    uninterrupted: Path, stopped: Stopped, resumed: Training
) -> None:
    assert resumed.status == 0, resumed.log
    assert resumed.finished == ["fine-tuning: epoch 3 of 3"]
    assert_ends_like(stopped.folder, uninterrupted)


def test_damaged_files_are_logged_and_replaced(
    uninterrupted: Path, stopped: Stopped, damaged: Damaged
) -> None:
    ended, shard = damaged.ended, damaged.features.parent
    assert ended.status == 0, ended.log
    for path in (shard, damaged.checkpoint):
        assert len([line for line in ended.log if str(path) in line]) == 1
    extracted_again = dict(ended.shards.items() - stopped.trainings[-1].shards.items())
    assert list(extracted_again) == [str(shard.relative_to(stopped.folder))]
    assert ended.finished == ["fine-tuning: epoch 2 of 3", "fine-tuning: epoch 3 of 3"]
    assert_ends_like(damaged.folder, uninterrupted)
