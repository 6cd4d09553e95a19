import keras
import numpy as np
import pytest

from trainer import backbones
from trainer.divide_backbone import divide_backbone


def _pixels(count: int = 2, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, size, size, 3)).astype("float32")


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    return backbones.build("MobileNetV2", 32, None)


@pytest.mark.parametrize(
    ("last_blocks", "last_frozen"), [(1, "block_15_add"), (3, "block_13_project_BN"), (17, "Conv1_relu")]
)
def test_the_backbone_is_divided_before_the_first_unfrozen_block(
    mobilenet: keras.Model, last_blocks: int, last_frozen: str
) -> None:
    frozen_part, trainable_part = divide_backbone(mobilenet, last_blocks)
    assert frozen_part.layers[-1].name == last_frozen
    # The second part has an input layer of its own.
    assert len(frozen_part.layers) + len(trainable_part.layers) == len(mobilenet.layers) + 1
    pixels = _pixels()
    np.testing.assert_array_equal(
        trainable_part(frozen_part(pixels, training=False), training=False), mobilenet(pixels, training=False)
    )


def test_a_backbone_can_be_divided_twice_and_inside_another_model(
    mobilenet: keras.Model,
) -> None:
    inputs = keras.Input((32, 32, 3))
    outer = keras.Model(inputs, mobilenet(inputs, training=False))
    first = divide_backbone(mobilenet, 2)
    second = divide_backbone(mobilenet, 2)
    names = [[layer.name for layer in divided.frozen_part.layers] for divided in (first, second)]
    assert names[0] == names[1]
    pixels = _pixels()
    np.testing.assert_array_equal(
        second.trainable_part(second.frozen_part(pixels, training=False), training=False),
        outer(pixels, training=False),
    )


def test_training_the_trainable_part_trains_the_unfrozen_blocks_without_batch_norm() -> None:
    backbone = backbones.build("MobileNetV2", 32, None)
    backbones.unfreeze(backbone, 2)
    frozen_part, trainable_part = divide_backbone(backbone, 2)
    before = {weight.path: weight.numpy() for weight in backbone.weights}
    x = trainable_part(trainable_part.input, training=False)
    x = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(trainable_part.input, x)
    model.compile(keras.optimizers.Adam(1e-3), "mse")

    model.fit(frozen_part.predict(_pixels(8), verbose=0), np.ones(8), epochs=2, batch_size=4, verbose=0)

    changed = {
        weight.path.split("/")[0]
        for weight in backbone.weights
        if not np.array_equal(before[weight.path], weight.numpy())
    }
    unfrozen = {layer.name for layer in backbones.last_layers(backbone, 2) if layer.weights}
    assert changed == {name for name in unfrozen if "bn" not in name.lower()}
    pixels = _pixels()
    np.testing.assert_array_equal(
        trainable_part(frozen_part(pixels, training=False), training=False), backbone(pixels, training=False)
    )


def test_a_block_with_two_branches_is_never_divided() -> None:
    """If a block's name first occurs inside a branch, the division moves before the fork."""
    inputs = keras.Input((8, 8, 4))
    stem = keras.layers.Conv2D(4, 1, name="block1_conv")(inputs)
    left = keras.layers.Conv2D(4, 1, name="block1_left")(stem)
    right = keras.layers.Conv2D(4, 1, name="block2_right")(stem)
    activated = keras.layers.ReLU(name="block2_relu")(right)
    network = keras.Model(inputs, keras.layers.Add(name="block2_add")([left, activated]), name="forked")

    frozen_part, trainable_part = divide_backbone(network, 1)

    assert [layer.name for layer in frozen_part.layers[1:]] == ["block1_conv"]
    assert {layer.name for layer in trainable_part.layers[1:]} == {
        "block1_left",
        "block2_right",
        "block2_relu",
        "block2_add",
    }


def test_a_backbone_without_a_frozen_bottleneck_is_refused_with_the_setting_to_change() -> None:
    with keras.StatelessScope():  # the structure without weights
        backbone = backbones.build("VGG16", 32, None)  # it has no stem
    with pytest.raises(backbones.BackboneError, match=r"vgg16.*5 blocks.*training\.feature_cache\.enabled"):
        divide_backbone(backbone, 5)


def test_too_many_blocks_and_zero_blocks_are_refused(mobilenet: keras.Model) -> None:
    with pytest.raises(backbones.BackboneError, match="training.unfrozen_blocks.*18"):
        divide_backbone(mobilenet, 18)
    with pytest.raises(ValueError, match="last_blocks.*0"):
        divide_backbone(mobilenet, 0)
