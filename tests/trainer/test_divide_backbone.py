import keras
import numpy as np
import pytest

from trainer import backbones, divide_backbone


def _pixels(count: int = 2, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, size, size, 3)).astype("float32")


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    return backbones.build("MobileNetV2", 32, None)


@pytest.mark.parametrize(
    ("last_blocks", "last_kept"), [(1, "block_15_add"), (3, "block_13_project_BN"), (17, "Conv1_relu")]
)
def test_the_cut_lies_before_the_first_unfrozen_block(
    mobilenet: keras.Model, last_blocks: int, last_kept: str
) -> None:
    prefix, suffix = divide_backbone.before_last_blocks(mobilenet, last_blocks)
    assert prefix.layers[-1].name == last_kept
    assert len(prefix.layers) + len(suffix.layers) == len(mobilenet.layers) + 1  # the suffix's input
    pixels = _pixels()
    np.testing.assert_array_equal(
        suffix(prefix(pixels, training=False), training=False), mobilenet(pixels, training=False)
    )


def test_another_cut_of_the_same_network_and_a_cut_of_one_in_use_are_right_too(
    mobilenet: keras.Model,
) -> None:
    inputs = keras.Input((32, 32, 3))
    used = keras.Model(inputs, mobilenet(inputs, training=False))
    first = divide_backbone.before_last_blocks(mobilenet, 2)
    second = divide_backbone.before_last_blocks(mobilenet, 2)
    assert [layer.name for layer in first.prefix.layers] == [layer.name for layer in second.prefix.layers]
    pixels = _pixels()
    np.testing.assert_array_equal(
        second.suffix(second.prefix(pixels, training=False), training=False), used(pixels, training=False)
    )


def test_training_the_suffix_trains_the_unfrozen_blocks_of_the_backbone_and_no_statistics() -> None:
    backbone = backbones.build("MobileNetV2", 32, None)
    backbones.unfreeze(backbone, 2)
    prefix, suffix = divide_backbone.before_last_blocks(backbone, 2)
    before = {weight.path: weight.numpy() for weight in backbone.weights}
    x = suffix(suffix.input, training=False)
    x = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(suffix.input, x)
    model.compile(keras.optimizers.Adam(1e-3), "mse")

    model.fit(prefix.predict(_pixels(8), verbose=0), np.ones(8), epochs=2, batch_size=4, verbose=0)

    changed = {
        weight.path.split("/")[0]
        for weight in backbone.weights
        if not np.array_equal(before[weight.path], weight.numpy())
    }
    unfrozen = {layer.name for layer in backbones.last_layers(backbone, 2) if layer.weights}
    assert changed == {name for name in unfrozen if "bn" not in name.lower()}
    pixels = _pixels()
    np.testing.assert_array_equal(
        suffix(prefix(pixels, training=False), training=False), backbone(pixels, training=False)
    )


def test_a_block_with_two_ways_is_never_cut() -> None:
    """Names that set the block's beginning into one of its branches move the cut before the branching."""
    inputs = keras.Input((8, 8, 4))
    kept = keras.layers.Conv2D(4, 1, name="block1_conv")(inputs)
    left = keras.layers.Conv2D(4, 1, name="block1_left")(kept)
    right = keras.layers.Conv2D(4, 1, name="block2_right")(kept)
    later = keras.layers.ReLU(name="block2_relu")(right)
    network = keras.Model(inputs, keras.layers.Add(name="block2_add")([left, later]), name="forked")

    prefix, suffix = divide_backbone.before_last_blocks(network, 1)

    assert [layer.name for layer in prefix.layers[1:]] == ["block1_conv"]
    assert {layer.name for layer in suffix.layers[1:]} == {
        "block1_left",
        "block2_right",
        "block2_relu",
        "block2_add",
    }


def test_where_nothing_can_be_kept_the_cure_is_named() -> None:
    with keras.StatelessScope():  # the structure without weights
        backbone = backbones.build("VGG16", 32, None)  # it has no stem
    with pytest.raises(backbones.BackboneError, match=r"5.*vgg16.*training\.feature_cache\.enabled"):
        divide_backbone.before_last_blocks(backbone, 5)


def test_more_blocks_than_there_are_and_none_at_all_are_refused(mobilenet: keras.Model) -> None:
    with pytest.raises(backbones.BackboneError, match="training.unfrozen_blocks.*18"):
        divide_backbone.before_last_blocks(mobilenet, 18)
    with pytest.raises(ValueError, match="last_blocks.*0"):
        divide_backbone.before_last_blocks(mobilenet, 0)
