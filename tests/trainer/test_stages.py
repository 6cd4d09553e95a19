"""Training from kept features is training the network itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import small
from trainer import backbones, examples, hardware, model, phases, stages, weights
from trainer.feature_cache import SHARD_PICTURES
from trainer.training_config import AugmentationConfig, FeatureCacheConfig, PhaseConfig, TrainingConfig

SIZE = 32
COUNTS = {"train": SHARD_PICTURES + 20, "eval": 24}
RECIPE = TrainingConfig(
    image_size=SIZE,
    frozen=PhaseConfig(epochs=1, learning_rate=1e-3),
    fine_tuning=PhaseConfig(epochs=1, learning_rate=1e-4),
    unfrozen_blocks=3,
    feature_cache=FeatureCacheConfig(dtype="float32"),
)
MADE_FROM = {"pictures": "these"}
CPU = hardware.on(["CPU:0"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> stages.Pictures:
    """Transformed examples as Transform writes them: smooth noise, dogs lighter than cats."""
    folder = tmp_path_factory.mktemp("transformed")
    generator = np.random.default_rng(0)

    def drawn(number: int) -> np.ndarray:
        coarse = generator.integers(0, 200, (1, 8, 8, 3)) + 55 * (number % 2)
        return tf.cast(tf.image.resize(coarse, [SIZE, SIZE], "bicubic"), tf.uint8)[0].numpy()

    for split, count in COUNTS.items():
        small.write(folder / split, map(drawn, range(count)))
    return stages.Pictures([str(folder / "train")], [str(folder / "eval")])


@pytest.fixture(scope="module")
def network() -> tuple[keras.Model, keras.Model]:
    backbone = weights.pretrained("MobileNetV2", SIZE, "packaged")
    return model.build(backbone, RECIPE), backbone


def _stages(
    network: tuple[keras.Model, keras.Model], pictures: stages.Pictures, root: Path, **cache: Any
) -> list[stages.Stage]:
    recipe = RECIPE.model_copy(update={"feature_cache": RECIPE.feature_cache.model_copy(update=cache)})
    return stages.from_features(*network, pictures, recipe, CPU, root, MADE_FROM)


def _answers(stage: stages.Stage) -> np.ndarray:
    """What a phase's model makes of the kept features of `eval`, in order."""
    return np.concatenate([stage.model(batch, training=False) for batch, _ in stage.evaluation])


def _expected(network: keras.Model, pictures: stages.Pictures) -> np.ndarray:
    """What the whole network makes of the pictures of `eval`."""
    stored = examples.pictures(pictures.evaluation, SIZE).batch(8)
    return np.concatenate([network(tf.cast(pixels, tf.float32), training=False) for pixels, _ in stored])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


def test_kept_features_give_the_answers_of_the_whole_network(
    network: tuple[keras.Model, keras.Model], pictures: stages.Pictures, root: Path
) -> None:
    frozen, fine_tuning = _stages(network, pictures, root)
    expected = _expected(network[0], pictures)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(_answers(frozen), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(_answers(fine_tuning), expected, rtol=0, atol=1e-4)


def test_a_compact_type_moves_answers_little(
    network: tuple[keras.Model, keras.Model], pictures: stages.Pictures, root: Path
) -> None:
    frozen, fine_tuning = _stages(network, pictures, root, dtype="float16")
    expected = _expected(network[0], pictures)
    np.testing.assert_allclose(_answers(frozen), expected, rtol=0, atol=2e-3)
    np.testing.assert_allclose(_answers(fine_tuning), expected, rtol=0, atol=2e-3)


def test_training_from_features_trains_the_whole_network(
    pictures: stages.Pictures, root: Path, tmp_path: Path
) -> None:
    backbone = weights.pretrained("MobileNetV2", SIZE, "packaged")
    whole = model.build(backbone, RECIPE)
    before = {weight.path: weight.numpy() for weight in whole.weights}
    _, fine_tuning = _stages((whole, backbone), pictures, root)

    phases.train([fine_tuning], backbone, 2, False, tmp_path / "checkpoints", tmp_path / "logs")

    np.testing.assert_allclose(_answers(fine_tuning), _expected(whole, pictures), rtol=0, atol=1e-4)
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
    [found] = [weight for weight in network.weights if weight.path == path]
    return found.numpy()


def test_every_view_of_every_training_picture_is_trained_on_and_eval_is_as_stored(
    network: tuple[keras.Model, keras.Model], pictures: stages.Pictures, root: Path
) -> None:
    for stage in _stages(network, pictures, root):
        assert sum(len(labels) for _, labels in stage.train) == 2 * COUNTS["train"]
        assert sum(len(labels) for _, labels in stage.evaluation) == COUNTS["eval"]


def test_without_fine_tuning_there_is_one_phase_and_nothing_is_kept_for_another(
    network: tuple[keras.Model, keras.Model], pictures: stages.Pictures, tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"fine_tuning": PhaseConfig(epochs=0, learning_rate=1e-4)})
    [only] = stages.from_features(*network, pictures, recipe, CPU, tmp_path, MADE_FROM)
    assert only.name == "frozen"
    assert {file.name for file in tmp_path.glob("*/*/*/*")} == {model.POOLED}


def test_on_the_fly_every_epoch_sees_each_picture_once(
    network: tuple[keras.Model, keras.Model], pictures: stages.Pictures
) -> None:
    recipe = RECIPE.model_copy(update={"augmentation": AugmentationConfig()})
    frozen, fine_tuning = stages.on_the_fly(network[0], pictures, recipe, CPU)
    assert frozen.model is fine_tuning.model
    assert (frozen.unfrozen_blocks, fine_tuning.unfrozen_blocks) == (0, 3)
    assert sum(len(labels) for _, labels in frozen.train) == COUNTS["train"]
    assert sum(len(labels) for _, labels in frozen.evaluation) == COUNTS["eval"]
