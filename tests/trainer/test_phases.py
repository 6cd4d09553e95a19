"""Training on cached features trains the network itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import toy_model
from trainer import backbones, datasets, hardware, model, phases, training_loop, weights
from trainer.feature_cache import SHARD_IMAGES
from trainer.training_config import AugmentationConfig, FeatureCacheConfig, PhaseConfig, TrainingConfig

SIZE = 32
COUNTS = {"train": SHARD_IMAGES + 20, "eval": 24}
CONFIG = TrainingConfig(
    image_size=SIZE,
    frozen=PhaseConfig(epochs=1, learning_rate=1e-3),
    fine_tuning=PhaseConfig(epochs=1, learning_rate=1e-4),
    unfrozen_blocks=3,
    feature_cache=FeatureCacheConfig(dtype="float32"),
)
FINGERPRINTS = {"images": "these"}
CPU = hardware.with_devices(["CPU:0"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> datasets.ExampleFiles:
    """Transformed examples of smooth noise, with dogs lighter than cats."""
    folder = tmp_path_factory.mktemp("transformed")
    generator = np.random.default_rng(0)

    def draw(number: int) -> np.ndarray:
        coarse = generator.integers(0, 200, (1, 8, 8, 3)) + 55 * (number % 2)
        return tf.cast(tf.image.resize(coarse, [SIZE, SIZE], "bicubic"), tf.uint8)[0].numpy()

    for split, count in COUNTS.items():
        toy_model.write_examples(folder / split, map(draw, range(count)))
    return datasets.ExampleFiles([str(folder / "train")], [str(folder / "eval")])


@pytest.fixture(scope="module")
def network() -> tuple[keras.Model, keras.Model]:
    keras.utils.set_random_seed(CONFIG.seed)  # the spread of the predictions depends on the head's weights
    backbone = weights.load_backbone("MobileNetV2", SIZE, "packaged")
    return model.build(backbone, CONFIG), backbone


def _phases(
    network: tuple[keras.Model, keras.Model], files: datasets.ExampleFiles, root: Path, **cache: Any
) -> list[phases.Phase]:
    config = CONFIG.model_copy(update={"feature_cache": CONFIG.feature_cache.model_copy(update=cache)})
    return phases.feature_phases(*network, files, config, CPU, root, FINGERPRINTS)


def _predictions(phase: phases.Phase) -> np.ndarray:
    """Returns the predictions of a phase's model on the cached features of `eval`."""
    return np.concatenate([phase.model(batch, training=False) for batch, _ in phase.evaluation])


def _expected(network: keras.Model, files: datasets.ExampleFiles) -> np.ndarray:
    """Returns the predictions of the whole network on the images of `eval`."""
    images = datasets.read_images(files.evaluation, SIZE).batch(8)
    return np.concatenate([network(tf.cast(pixels, tf.float32), training=False) for pixels, _ in images])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


def test_cached_features_give_the_predictions_of_the_whole_network(
    network: tuple[keras.Model, keras.Model], files: datasets.ExampleFiles, root: Path
) -> None:
    frozen, fine_tuning = _phases(network, files, root)
    expected = _expected(network[0], files)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(_predictions(frozen), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(_predictions(fine_tuning), expected, rtol=0, atol=1e-4)


def test_float16_features_change_predictions_little(
    network: tuple[keras.Model, keras.Model], files: datasets.ExampleFiles, root: Path
) -> None:
    frozen, fine_tuning = _phases(network, files, root, dtype="float16")
    expected = _expected(network[0], files)
    np.testing.assert_allclose(_predictions(frozen), expected, rtol=0, atol=2e-3)
    np.testing.assert_allclose(_predictions(fine_tuning), expected, rtol=0, atol=2e-3)


def test_training_on_features_trains_the_whole_network(
    files: datasets.ExampleFiles, root: Path, tmp_path: Path
) -> None:
    backbone = weights.load_backbone("MobileNetV2", SIZE, "packaged")
    whole = model.build(backbone, CONFIG)
    before = {weight.path: weight.numpy() for weight in whole.weights}
    _, fine_tuning = _phases((whole, backbone), files, root)

    training_loop.train([fine_tuning], backbone, 2, False, tmp_path / "checkpoints", tmp_path / "logs")

    np.testing.assert_allclose(_predictions(fine_tuning), _expected(whole, files), rtol=0, atol=1e-4)
    changed = {
        path.split("/")[0] for path, old in before.items() if not np.array_equal(old, _weight(whole, path))
    }
    trained = {
        layer.name
        for block in backbones.blocks(backbone)[-3:]
        for layer in block
        if layer.weights and not isinstance(layer, keras.layers.BatchNormalization)
    }
    assert changed == trained | {"probability"}


def _weight(network: keras.Model, path: str) -> np.ndarray:
    [match] = [weight for weight in network.weights if weight.path == path]
    return match.numpy()


def test_all_views_of_training_images_are_used_and_eval_is_not_augmented(
    network: tuple[keras.Model, keras.Model], files: datasets.ExampleFiles, root: Path
) -> None:
    for phase in _phases(network, files, root):
        assert sum(len(labels) for _, labels in phase.train) == 2 * COUNTS["train"]
        assert sum(len(labels) for _, labels in phase.evaluation) == COUNTS["eval"]


def test_without_fine_tuning_there_is_one_phase_and_only_its_features_are_cached(
    network: tuple[keras.Model, keras.Model], files: datasets.ExampleFiles, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"fine_tuning": PhaseConfig(epochs=0, learning_rate=1e-4)})
    [only] = phases.feature_phases(*network, files, config, CPU, tmp_path, FINGERPRINTS)
    assert only.name == "frozen"
    assert {file.name for file in tmp_path.glob("*/*/*/*")} == {model.POOLED}


def test_image_phases_see_each_image_once_per_epoch(
    network: tuple[keras.Model, keras.Model], files: datasets.ExampleFiles
) -> None:
    config = CONFIG.model_copy(update={"augmentation": AugmentationConfig()})
    frozen, fine_tuning = phases.image_phases(network[0], files, config, CPU)
    assert frozen.model is fine_tuning.model
    assert (frozen.unfrozen_blocks, fine_tuning.unfrozen_blocks) == (0, 3)
    assert sum(len(labels) for _, labels in frozen.train) == COUNTS["train"]
    assert sum(len(labels) for _, labels in frozen.evaluation) == COUNTS["eval"]
