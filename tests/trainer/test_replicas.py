"""Several devices, for which two virtual CPUs stand in: in a process of their own, since TensorFlow divides a
CPU only before its first use."""

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

from tests.trainer import small
from trainer import hardware, model, phases, run, stages, weights
from trainer.stages import Pictures
from trainer.training_config import AugmentationConfig, FeatureCacheConfig, PhaseConfig, TrainingConfig

ONE, TWO = ["CPU:0"], ["CPU:0", "CPU:1"]
SIZE = 32

PICTURES = {"train": 64, "eval": 32}
RECIPE = TrainingConfig(
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
AUGMENTED = RECIPE.model_copy(
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
    """Stands for kill -9 before an epoch."""


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
    """One strategy for all tests: a second one of a process would exchange under the first one's keys."""
    return hardware.on(devices)


def _divide_cpu() -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def _pictures(folder: Path) -> Pictures:
    """Writes what Transform would: cats are dark and dogs are light, more or less."""
    folder.mkdir(exist_ok=True)
    for seed, (split, count) in enumerate(PICTURES.items()):
        generator = np.random.default_rng(seed)
        darkest = (80 * (number % 2) for number in range(count))
        small.write(
            folder / split,
            (generator.integers(least, 176 + least, [SIZE, SIZE, 3], np.uint8) for least in darkest),
        )
    return Pictures([str(folder / "train")], [str(folder / "eval")])


def train(
    devices: list[str],
    folder: Path,
    recipe: TrainingConfig = RECIPE,
    precision: str = "float32",
    killed_at: int | None = None,
) -> Trained:
    """Trains both phases as `run_fn` does, or dies before an epoch of the second one."""
    machine = _on(*devices)._replace(precision=precision)
    recipe = machine.scaled(recipe)
    pictures = _pictures(folder)
    keras.utils.set_random_seed(recipe.seed)
    with machine.scope():
        backbone = small.backbone(SIZE)
        network = model.build(backbone, recipe)
        plan = (
            stages.from_features(network, backbone, pictures, recipe, machine, folder / "features", {})
            if recipe.feature_cache.enabled
            else stages.on_the_fly(network, pictures, recipe, machine)
        )

        begin = phases._Progress.on_epoch_begin

        def begin_or_die(self: phases._Progress, epoch: int, logs: dict[str, float] | None = None) -> None:
            if self._phase == stages.FINE_TUNING and epoch == killed_at:
                raise Killed
            begin(self, epoch, logs)

        with mock.patch.object(phases._Progress, "on_epoch_begin", begin_or_die):
            history = phases.train(
                plan, backbone, recipe.patience, machine.jit, folder / "checkpoints", folder / "logs"
            )
    losses = [epoch["val_loss"] for epochs in history.phases.values() for epoch in epochs]
    optimizers = {type(stage.model.optimizer).__name__ for stage in plan if stage.settings.epochs}
    return Trained(network.get_weights(), losses, optimizers)


@pytest.mark.parametrize("kept_features", [True, False])
def test_two_devices_train_as_one_does_with_the_same_whole_batch(
    kept_features: bool, two_devices: ProcessPoolExecutor, tmp_path: Path
) -> None:
    recipe = _from(RECIPE, kept_features)
    halved = recipe.model_copy(
        update={
            "batch_size": recipe.batch_size // 2,
            "frozen": PhaseConfig(epochs=3, learning_rate=recipe.frozen.learning_rate / 2),
            "fine_tuning": PhaseConfig(epochs=3, learning_rate=recipe.fine_tuning.learning_rate / 2),
        }
    )
    one = two_devices.submit(train, ONE, tmp_path / "one", recipe).result()
    two = two_devices.submit(train, TWO, tmp_path / "two", halved).result()

    assert two.losses == pytest.approx(one.losses, abs=1e-4)
    # Adam makes a whole step, up to 1e-2 here, of rounding in a gradient near 0.
    assert _mean_difference(one, two) < 1e-4
    assert one.losses[0] - one.losses[-1] > 0.01, "this recipe must change something"


def test_two_devices_train_in_mixed_precision_and_go_on_after_the_last_finished_epoch(
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


def test_what_two_devices_train_on_the_fly_in_mixed_precision_is_exported_in_float32(
    two_devices: ProcessPoolExecutor, tmp_path: Path
) -> None:
    two_devices.submit(_run_fn, tmp_path).result()
    [phase] = json.loads((tmp_path / "model_run" / "history.json").read_text())["phases"]
    assert phase["epochs"][0]["val_loss"] - phase["epochs"][-1]["val_loss"] > 0.01
    exported = tf.saved_model.load(str(tmp_path / "model"))
    for signature in exported.signatures.values():
        kinds = {
            tensor.dtype for operation in signature.graph.get_operations() for tensor in operation.outputs
        }
        assert tf.float32 in kinds
        assert not kinds & {tf.float16, tf.bfloat16}
    picture = tf.io.encode_jpeg(tf.zeros([SIZE, SIZE, 3], tf.uint8))
    answer = exported.signatures["serving_default"](image_bytes=picture[tf.newaxis])["dog_probability"]
    assert answer.dtype == tf.float32
    assert 0 < float(answer[0]) < 1


def _run_fn(folder: Path) -> None:
    pictures = _pictures(folder)
    machine = _on(*TWO)._replace(precision=MIXED)
    recipe = _from(AUGMENTED, kept_features=False)
    recipe = recipe.model_copy(update={"batch_size": recipe.batch_size // 2})
    arguments = SimpleNamespace(
        train_files=pictures.train,
        eval_files=pictures.evaluation,
        model_run_dir=str(folder / "model_run"),
        serving_model_dir=str(folder / "model"),
        custom_config={
            "recipe": recipe.model_dump(mode="json"),
            "class_names": ["cat", "dog"],
            "checkpoint_root": str(folder / "checkpoints"),
            "feature_cache_root": str(folder / "features"),
            "weights_fingerprint": "",
            "code_fingerprint": "",
        },
    )
    with (
        mock.patch.object(hardware, "detect", return_value=machine),
        mock.patch.object(weights, "pretrained", side_effect=lambda *_: small.backbone(SIZE)),
    ):
        run.run_fn(arguments)


def _mean_difference(one: Trained, other: Trained) -> float:
    pairs = zip(one.weights, other.weights, strict=True)
    return float(np.mean(np.concatenate([np.abs(a - b).ravel() for a, b in pairs])))


def _from(recipe: TrainingConfig, kept_features: bool) -> TrainingConfig:
    """An epoch is one batch: its order is no matter."""
    cache = recipe.feature_cache.model_copy(update={"enabled": kept_features})
    seen = PICTURES["train"] * (cache.views if kept_features else 1)
    return recipe.model_copy(update={"feature_cache": cache, "batch_size": seen})
