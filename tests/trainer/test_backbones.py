import keras
import numpy as np
import pytest

from trainer import backbones


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    return backbones.build("MobileNetV2", 64, None)


@pytest.mark.parametrize(("name", "nearest"), [("MobilNetV2", "MobileNetV2"), ("resnet50v2", "ResNet50V2")])
def test_a_misspelt_backbone_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(backbones.BackboneError, match=f"'{name}'.*'{nearest}'"):
        backbones.build(name, 64, None)


def test_blocks_are_in_order_and_omit_the_stem(mobilenet: keras.Model) -> None:
    blocks = backbones.blocks(mobilenet)
    assert len(blocks) == 17
    assert blocks[0][0].name == "expanded_conv_depthwise"
    assert blocks[-1][0].name == "block_16_expand"
    assert blocks[-1][-1].name == "out_relu"


def test_a_network_without_named_blocks_is_refused_with_the_setting_to_change() -> None:
    network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)], name="plain")
    with pytest.raises(backbones.BackboneError, match=r"plain.*training\.fine_tuning\.epochs"):
        backbones.blocks(network)


@pytest.mark.parametrize(
    ("name", "image_size", "last_blocks", "values"),
    [
        ("MobileNetV2", 64, 18, "training.unfrozen_blocks.*18.*17"),
        ("InceptionV3", 64, 0, "InceptionV3.*training.image_size.*64"),
        ("InceptionV3", 96, 12, "training.unfrozen_blocks.*12.*11"),
    ],
)
def test_problems_of_the_second_phase_are_found_before_the_first(
    name: str, image_size: int, last_blocks: int, values: str
) -> None:
    with pytest.raises(backbones.BackboneError, match=values):
        backbones.check(name, image_size, last_blocks)


def test_unfreezing_the_last_blocks_leaves_batch_normalisation_frozen(mobilenet: keras.Model) -> None:
    backbones.unfreeze(mobilenet, 2)

    trainable = {layer.name for layer in mobilenet.layers if layer.trainable and layer.weights}
    assert {"block_15_expand", "block_16_project", "Conv_1"} <= trainable
    assert "block_14_expand" not in trainable
    assert not any("bn" in name.lower() for name in trainable)

    backbones.unfreeze(mobilenet, 0)
    assert mobilenet.trainable_weights == []


def test_dropout_inside_the_blocks_is_off_even_in_training() -> None:
    network = backbones.build("EfficientNetV2B0", 32, None)
    assert any(isinstance(layer, keras.layers.Dropout) for layer in network.layers)
    backbones.unfreeze(network, 1)
    outer = keras.Model(network.input, network(network.input, training=False))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(outer(pixels, training=True), outer(pixels, training=False))
