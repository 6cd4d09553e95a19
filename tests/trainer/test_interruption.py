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
from trainer import feature_pass, phases, run
from trainer.feature_cache import SHARD_PICTURES
from trainer.recipe import FeatureCacheSettings, PhaseSettings, TrainingSettings

SIZE = 32
PICTURES = {"train": 2 * SHARD_PICTURES + 64, "eval": 64}
EPOCHS = 3
VIEWS = 2
RECIPE = TrainingSettings(
    image_size=SIZE,
    # An epoch is one batch: a resumed training shuffles anew, and small batches in another order would differ
    # by more than what an epoch changes.
    batch_size=VIEWS * PICTURES["train"],
    dropout=0.0,
    feature_cache=FeatureCacheSettings(views=VIEWS),
    frozen=PhaseSettings(epochs=EPOCHS, learning_rate=3e-2),
    fine_tuning=PhaseSettings(epochs=EPOCHS, learning_rate=3e-5),
    unfrozen_blocks=1,
    patience=EPOCHS,
)
TOLERANCE = 1e-4  # of losses: sums in another order; `test_the_tolerance_tells_an_epoch_more_or_less`
SECONDS = 300.0  # in which a process tells its next line; many times what it takes

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["trainer.run", "tfx.components.trainer.fn_args_utils"])

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
    """Runs in a process of its own what TFX's Trainer runs."""
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


@pytest.fixture(scope="module")
def stopped(pictures: Path) -> Path:
    """The folder of the training that is stopped again and again."""
    return beside(pictures, "stopped")


@pytest.fixture(scope="module")
def term_in_pass(stopped: Path) -> Training:
    """In the second shard."""
    told = SHARD_PICTURES + 64
    return training(stopped, f"features of train: {told} of", signal.SIGTERM)


@pytest.fixture(scope="module")
def kill_in_pass(stopped: Path, term_in_pass: Training) -> Training:
    """In the third shard."""
    return training(stopped, f"features of train: {SHARD_PICTURES + 64} of", signal.SIGKILL)


@pytest.fixture(scope="module")
def term_in_phase_one(stopped: Path, kill_in_pass: Training) -> Training:
    return training(stopped, "frozen: epoch 2 of 3, step 1 ", signal.SIGTERM)


@pytest.fixture(scope="module")
def kill_in_phase_one(stopped: Path, term_in_phase_one: Training) -> Training:
    return training(stopped, "frozen: epoch 3 of 3, step 1 ", signal.SIGKILL)


@pytest.fixture(scope="module")
def term_in_phase_two(stopped: Path, kill_in_phase_one: Training) -> Training:
    return training(stopped, "fine-tuning: epoch 2 of 3, step 1 ", signal.SIGTERM)


@pytest.fixture(scope="module")
def kill_in_phase_two(stopped: Path, term_in_phase_two: Training) -> Training:
    return training(stopped, "fine-tuning: epoch 3 of 3, step 1 ", signal.SIGKILL)


class Damaged(NamedTuple):
    """A training after the last kill, and after a checkpoint was cut short and a byte of a shard flipped."""

    folder: Path
    checkpoint: Path
    kept_features: Path
    ended: Training


@pytest.fixture(scope="module")
def damaged(stopped: Path, kill_in_phase_two: Training) -> Damaged:
    """It runs where the stopped one was, and then makes room for it again: checkpoints know their place."""
    undamaged = Path(shutil.copytree(stopped, stopped.with_name(f"{stopped.name}-undamaged")))
    checkpoint = max(stopped.glob("checkpoints/*/fine-tuning/epoch-*"))
    os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    [kept] = stopped.glob("features/*/train/00001/activations")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    ended = training(stopped)
    folder = stopped.rename(stopped.with_name(f"{stopped.name}-damaged"))
    undamaged.rename(stopped)
    return Damaged(folder, checkpoint, kept, ended)


@pytest.fixture(scope="module")
def resumed(stopped: Path, damaged: Damaged) -> Training:
    """After all six."""
    return training(stopped)


def test_the_tolerance_tells_an_epoch_more_or_less(whole: Path) -> None:
    for phase in ("frozen", "fine-tuning"):
        losses = metrics(whole)[f"{phase} loss"]
        assert np.all(np.abs(np.diff(losses)) > 10 * TOLERANCE), losses


def test_sigterm_in_the_pass(term_in_pass: Training, kill_in_pass: Training) -> None:
    assert term_in_pass.status == -signal.SIGTERM, term_in_pass.said
    assert len(term_in_pass.shards) == 1
    assert term_in_pass.shards.items() <= kill_in_pass.shards.items()


def test_kill_in_the_pass(kill_in_pass: Training, term_in_phase_one: Training) -> None:
    assert kill_in_pass.status == -signal.SIGKILL, kill_in_pass.said
    assert len(kill_in_pass.shards) == 2
    assert len(term_in_phase_one.shards) == 4  # that of eval among them
    assert kill_in_pass.shards.items() <= term_in_phase_one.shards.items()


def test_sigterm_in_phase_one(term_in_phase_one: Training, kill_in_phase_one: Training) -> None:
    assert term_in_phase_one.status == -signal.SIGTERM, term_in_phase_one.said
    assert term_in_phase_one.finished == ["frozen: epoch 1 of 3"]
    assert kill_in_phase_one.shards == term_in_phase_one.shards


def test_kill_in_phase_one(kill_in_phase_one: Training) -> None:
    assert kill_in_phase_one.status == -signal.SIGKILL, kill_in_phase_one.said
    assert kill_in_phase_one.finished == ["frozen: epoch 2 of 3"]


def test_sigterm_in_phase_two(term_in_phase_two: Training) -> None:
    assert term_in_phase_two.status == -signal.SIGTERM, term_in_phase_two.said
    assert term_in_phase_two.finished == ["frozen: epoch 3 of 3", "fine-tuning: epoch 1 of 3"]


def test_kill_in_phase_two(kill_in_phase_two: Training, resumed: Training) -> None:
    assert kill_in_phase_two.status == -signal.SIGKILL, kill_in_phase_two.said
    assert kill_in_phase_two.finished == ["fine-tuning: epoch 2 of 3"]
    assert resumed.finished == ["fine-tuning: epoch 3 of 3"]
    assert resumed.shards == kill_in_phase_two.shards


def test_the_stopped_training_ends_like_the_whole_one(whole: Path, stopped: Path, resumed: Training) -> None:
    assert resumed.status == 0, resumed.said
    assert_ends_like(stopped, whole)


def test_damage_is_noticed_said_and_made_good(
    whole: Path, stopped: Path, damaged: Damaged, kill_in_phase_two: Training
) -> None:
    ended, shard = damaged.ended, damaged.kept_features.parent
    assert ended.status == 0, ended.said
    for path in (shard, damaged.checkpoint):
        assert len([line for line in ended.said if str(path) in line]) == 1
    made_anew = dict(ended.shards.items() - kill_in_phase_two.shards.items())
    assert list(made_anew) == [str(shard.relative_to(stopped))]
    assert ended.finished == ["fine-tuning: epoch 2 of 3", "fine-tuning: epoch 3 of 3"]
    assert_ends_like(damaged.folder, whole)
