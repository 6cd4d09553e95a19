"""Trains on two virtual CPUs, in a separate process: TensorFlow divides a CPU only before its first use."""

from __future__ import annotations

import functools
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import toy_model
from trainer import hardware, model, phases, run, training_loop, weights
from trainer.datasets import ExampleFiles
from trainer.training_config import AugmentationConfig, FeatureCacheConfig, PhaseConfig, TrainingConfig

ONE, TWO = ["CPU:0"], ["CPU:0", "CPU:1"]
SIZE = 32

IMAGES = {"train": 64, "eval": 32}
CONFIG = TrainingConfig(
    image_size=SIZE,
    weights="random",
    batch_size=128,
    dropout=0.0,
    augmentation=AugmentationConfig(rotation=0, zoom=0, contrast=0),
    frozen=PhaseConfig(epochs=3, learning_rate=1e-2),
    fine_tuning=PhaseConfig(epochs=3, learning_rate=1e-3),
    unfrozen_blocks=1,
    feature_cache=FeatureCacheConfig(views=2, dtype="float32"),
)
AUGMENTED = CONFIG.model_copy(
    update={
        "frozen": PhaseConfig(epochs=0, learning_rate=1e-2),
        "fine_tuning": PhaseConfig(epochs=3, learning_rate=3e-3),
        "batch_size": 192,
        "augmentation": AugmentationConfig(),
        "feature_cache": FeatureCacheConfig(views=3),
    }
)
MIXED = "mixed_float16"

pytestmark = pytest.mark.slow


class Killed(Exception):
    """Simulates kill -9 before an epoch."""


class Trained(NamedTuple):
    weights: list[np.ndarray]
    losses: list[Any]
    optimizers: set[str]


@pytest.fixture(scope="module")
def two_devices() -> Iterator[ProcessPoolExecutor]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn, initializer=_divide_cpu) as process:
        yield process


@functools.cache
def _on(*devices: str) -> hardware.Hardware:
    """Returns one strategy for all tests: a second one would reuse the collective keys of the first."""
    return hardware.with_devices(devices)


def _divide_cpu() -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def _write_files(folder: Path) -> ExampleFiles:
    """Writes transformed examples, in which cats tend to be darker than dogs."""
    folder.mkdir(exist_ok=True)
    for seed, (split, count) in enumerate(IMAGES.items()):
        generator = np.random.default_rng(seed)
        darkest = (80 * (number % 2) for number in range(count))
        toy_model.write_examples(
            folder / split,
            (generator.integers(least, 176 + least, [SIZE, SIZE, 3], np.uint8) for least in darkest),
        )
    return ExampleFiles([str(folder / "train")], [str(folder / "eval")])


def train(
    devices: list[str],
    folder: Path,
    config: TrainingConfig = CONFIG,
    precision: str = "float32",
    killed_at: int | None = None,
) -> Trained:
    """Trains both phases as `run_fn` does, or is killed before an epoch of the second one."""
    machine = _on(*devices)._replace(precision=precision)
    config = machine.scale_config(config)
    files = _write_files(folder)
    keras.utils.set_random_seed(config.seed)
    with machine.scope():
        backbone = toy_model.backbone(SIZE)
        network = model.build(backbone, config)
        training_phases = (
            phases.feature_phases(network, backbone, files, config, machine, folder / "features", {})
            if config.feature_cache.enabled
            else phases.image_phases(network, files, config, machine)
        )

        begin = training_loop._LogProgress.on_epoch_begin

        def begin_or_die(
            self: training_loop._LogProgress, epoch: int, logs: dict[str, float] | None = None
        ) -> None:
            if self._phase == phases.FINE_TUNING and epoch == killed_at:
                raise Killed
            begin(self, epoch, logs)

        with mock.patch.object(training_loop._LogProgress, "on_epoch_begin", begin_or_die):
            history = training_loop.train(
                training_phases,
                backbone,
                config.patience,
                machine.jit,
                folder / "checkpoints",
                folder / "logs",
            )
    losses = [epoch["val_loss"] for epochs in history.phases.values() for epoch in epochs]
    optimizers = {type(phase.model.optimizer).__name__ for phase in training_phases if phase.config.epochs}
    return Trained(network.get_weights(), losses, optimizers)


@pytest.mark.parametrize("use_cache", [True, False])
def test_two_devices_train_like_one_with_the_same_total_batch(
    use_cache: bool, two_devices: ProcessPoolExecutor, tmp_path: Path
) -> None:
    config = _full_batch(CONFIG, use_cache)
    halved = config.model_copy(
        update={
            "batch_size": config.batch_size // 2,
            "frozen": PhaseConfig(epochs=3, learning_rate=config.frozen.learning_rate / 2),
            "fine_tuning": PhaseConfig(epochs=3, learning_rate=config.fine_tuning.learning_rate / 2),
        }
    )
    one = two_devices.submit(train, ONE, tmp_path / "one", config).result()
    two = two_devices.submit(train, TWO, tmp_path / "two", halved).result()

    assert two.losses == pytest.approx(one.losses, abs=1e-4)
    # Adam turns rounding of a gradient near 0 into a whole step, here up to 1e-2.
    assert _mean_difference(one, two) < 1e-4
    assert one.losses[0] - one.losses[-1] > 0.01, "this config must change something"


def test_mixed_precision_training_on_two_devices_resumes_after_the_last_finished_epoch(
    two_devices: ProcessPoolExecutor, tmp_path: Path
) -> None:
    straight = two_devices.submit(train, TWO, tmp_path / "straight", AUGMENTED, MIXED).result()
    killed = two_devices.submit(train, TWO, tmp_path / "killed", AUGMENTED, MIXED, 1)
    with pytest.raises(Killed):
        killed.result()
    resumed = two_devices.submit(train, TWO, tmp_path / "killed", AUGMENTED, MIXED).result()

    assert straight.optimizers == {"LossScaleOptimizer"}
    assert {values.dtype for values in straight.weights} == {np.dtype("float32")}
    assert straight.losses[0] - straight.losses[-1] > 0.01
    assert resumed.losses == pytest.approx(straight.losses, abs=1e-3)
    assert _mean_difference(straight, resumed) < 1e-4


def test_a_model_trained_on_images_in_mixed_precision_is_exported_in_float32(
    two_devices: ProcessPoolExecutor, tmp_path: Path
) -> None:
    two_devices.submit(_run_fn, tmp_path).result()
    [phase] = json.loads((tmp_path / "model_run" / "history.json").read_text())["phases"]
    assert phase["epochs"][0]["val_loss"] - phase["epochs"][-1]["val_loss"] > 0.01
    exported = tf.saved_model.load(str(tmp_path / "model"))
    for signature in exported.signatures.values():
        dtypes = {
            tensor.dtype for operation in signature.graph.get_operations() for tensor in operation.outputs
        }
        assert tf.float32 in dtypes
        assert not dtypes & {tf.float16, tf.bfloat16}
    image = tf.io.encode_jpeg(tf.zeros([SIZE, SIZE, 3], tf.uint8))
    probability = exported.signatures["serving_default"](image_bytes=image[tf.newaxis])["dog_probability"]
    assert probability.dtype == tf.float32
    assert 0 < float(probability[0]) < 1


def _run_fn(folder: Path) -> None:
    files = _write_files(folder)
    machine = _on(*TWO)._replace(precision=MIXED)
    config = _full_batch(AUGMENTED, use_cache=False)
    config = config.model_copy(update={"batch_size": config.batch_size // 2})
    arguments = SimpleNamespace(
        train_files=files.train,
        eval_files=files.evaluation,
        model_run_dir=str(folder / "model_run"),
        serving_model_dir=str(folder / "model"),
        custom_config={
            "training_config": config.model_dump(mode="json"),
            "class_names": ["cat", "dog"],
            "max_pixels": 50_000_000,
            "checkpoint_root": str(folder / "checkpoints"),
            "feature_cache_root": str(folder / "features"),
            "weights_fingerprint": "",
            "code_fingerprint": "",
        },
    )
    with (
        mock.patch.object(hardware, "detect", return_value=machine),
        mock.patch.object(weights, "load_backbone", side_effect=lambda *_: toy_model.backbone(SIZE)),
    ):
        run.run_fn(arguments)


def _mean_difference(one: Trained, other: Trained) -> float:
    pairs = zip(one.weights, other.weights, strict=True)
    return float(np.mean(np.concatenate([np.abs(a - b).ravel() for a, b in pairs])))


def _full_batch(config: TrainingConfig, use_cache: bool) -> TrainingConfig:
    """Returns a config whose batch is a whole epoch, so that the order does not matter."""
    cache = config.feature_cache.model_copy(update={"enabled": use_cache})
    batch_size = IMAGES["train"] * (cache.views if use_cache else 1)
    return config.model_copy(update={"feature_cache": cache, "batch_size": batch_size})
