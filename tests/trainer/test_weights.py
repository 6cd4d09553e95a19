import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from trainer import backbones, weights


def test_packaged_weights_are_pretrained_ones() -> None:
    network = weights.load_backbone("MobileNetV2", 64, "packaged")

    first = network.get_layer("Conv1").get_weights()[0]
    variances = network.get_layer("Conv_1_bn").get_weights()[3]
    assert first.shape == (3, 3, 3, 32)
    assert not np.allclose(variances, 1), "batch normalisation still has its initial statistics"


def test_a_missing_package_is_refused_with_the_command_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(weights.WeightsError, match="make setup"):
        weights.load_backbone("MobileNetV2", 64, "packaged")


@pytest.mark.parametrize(
    "find_weights",
    [weights.check, lambda backbone, named: weights.load_backbone(backbone, 64, named)],
    ids=["check", "load_backbone"],
)
@pytest.mark.parametrize(
    ("backbone", "named", "values"),
    [
        ("MobilNetV2", "packaged", "MobilNetV2"),
        ("MobilNetV2", "imagenet", "MobilNetV2"),
        ("ResNet50V2", "packaged", "MobileNetV2.*ResNet50V2"),
        ("MobileNetV2", "nowhere.h5", "nowhere.h5.*packaged, imagenet, random"),
    ],
)
def test_unavailable_weights_are_refused(
    backbone: str, named: str, values: str, find_weights: Callable[[str, str], object]
) -> None:
    with pytest.raises((weights.WeightsError, backbones.BackboneError), match=values):
        find_weights(backbone, named)


def test_random_weights_differ_from_the_packaged_ones() -> None:
    network = weights.load_backbone("MobileNetV2", 64, "random")
    assert np.allclose(network.get_layer("Conv_1_bn").get_weights()[3], 1)


def test_weights_load_from_a_file(tmp_path: Path) -> None:
    source = backbones.build("MobileNetV2", 64, None)
    source.save_weights(tmp_path / "mine.weights.h5")

    network = weights.load_backbone("MobileNetV2", 64, str(tmp_path / "mine.weights.h5"))

    for expected, actual in zip(source.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_weights_file_of_another_network_is_refused(tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(weights.WeightsError, match="other.weights.h5.*MobileNetV2"):
        weights.load_backbone("MobileNetV2", 64, str(tmp_path / "other.weights.h5"))


def test_imagenet_weights_without_a_connection_are_refused_with_the_alternatives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens on the discard port
    with pytest.raises(weights.WeightsError, match="ResNet50V2.*training.weights.*packaged"):
        weights.load_backbone("ResNet50V2", 64, "imagenet")
