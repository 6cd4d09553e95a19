"""The drawn sample images: reproducible, varied, and distinguishable only by the animal."""

import io
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from components.image_example_gen.drawing import CAT, DOG, draw, jpeg

_MANY = 240


@dataclass(frozen=True)
class _DrawnImages:
    """Alternating cats and dogs: 16x16 RGB values (0 to 1), width and height, JPEG size in bytes."""

    labels: NDArray[np.int64]
    thumbnails: NDArray[np.float64]
    sizes: NDArray[np.float64]
    byte_sizes: NDArray[np.float64]


@pytest.fixture(scope="module")
def drawn() -> _DrawnImages:
    labels = np.arange(_MANY) % 2
    encoded = [jpeg(index, 0, int(label)) for index, label in enumerate(labels)]
    images = [Image.open(io.BytesIO(data)) for data in encoded]
    thumbnails = [np.asarray(image.resize((16, 16), Image.Resampling.BOX), float) / 255 for image in images]
    sizes = np.array([image.size for image in images], float)
    return _DrawnImages(labels, np.stack(thumbnails), sizes, np.array([len(data) for data in encoded], float))


def _cross_validated_accuracy(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Returns the accuracy of a ridge classifier in five-fold cross-validation."""
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)
    features = np.column_stack([features, np.ones(len(features))])
    target, fold = 2.0 * labels - 1, np.arange(len(labels)) // 2 % 5
    correct = 0
    for part in range(5):
        fit, held_out = fold != part, fold == part
        penalty = np.eye(features.shape[1])
        weights = np.linalg.solve(features[fit].T @ features[fit] + penalty, features[fit].T @ target[fit])
        correct += int((np.sign(features[held_out] @ weights) == target[held_out]).sum())
    return correct / len(labels)


def test_another_process_draws_the_same_bytes() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        theirs = list(pool.map(jpeg, [5, 4], [0, 0], [CAT, DOG]))
    assert theirs == [jpeg(5, 0, CAT), jpeg(4, 0, DOG)]


def test_index_seed_and_label_each_change_the_image() -> None:
    assert len({jpeg(1, 1, CAT), jpeg(2, 1, CAT), jpeg(1, 2, CAT), jpeg(1, 1, DOG)}) == 4


@pytest.mark.parametrize("label", [2, -1, None])
def test_unknown_label_raises_value_error(label: int) -> None:
    with pytest.raises(ValueError, match=str(label)):
        draw(0, 0, label)


def test_jpeg_decodes_to_the_drawn_size_at_a_modest_file_size() -> None:
    for index in range(6):
        encoded = jpeg(index, 0, index % 2)
        image = Image.open(io.BytesIO(encoded))
        image.load()
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", draw(index, 0, index % 2).size)
        assert 3_000 < len(encoded) < 60_000


def test_shapes_brightness_and_colours_vary(drawn: _DrawnImages) -> None:
    ratio = drawn.sizes[:, 0] / drawn.sizes[:, 1]
    assert ratio.min() < 0.85
    assert ratio.max() > 1.35
    assert np.ptp(drawn.thumbnails.mean(axis=(1, 2, 3))) > 0.4
    assert (drawn.thumbnails.std(axis=(1, 2)).mean(axis=1) > 0.03).all(), "a flat image"
    assert (drawn.thumbnails.mean(axis=(1, 2)).std(axis=0) > 0.1).all(), "one colour prevails"


def test_both_labels_of_an_index_have_the_same_background() -> None:
    """The label must not reach the background: the border pixels that no animal covers agree."""
    for index in range(12):
        cat, dog = (np.asarray(draw(index, 0, label), np.int16) for label in (CAT, DOG))
        assert cat.shape == dog.shape
        top_edge = np.abs(cat[:6] - dog[:6]).max(axis=(0, 2))
        assert (top_edge < 3).mean() > 0.5, f"image {index}"


def test_colour_and_size_alone_do_not_predict_the_label(drawn: _DrawnImages) -> None:
    features = np.column_stack([drawn.thumbnails.mean(axis=(1, 2)), drawn.sizes])
    assert _cross_validated_accuracy(features, drawn.labels) < 0.6


def test_file_size_does_not_predict_the_label(drawn: _DrawnImages) -> None:
    assert _cross_validated_accuracy(drawn.byte_sizes[:, None], drawn.labels) < 0.65


def test_classifier_detects_a_leaking_colour(drawn: _DrawnImages) -> None:
    means = drawn.thumbnails.mean(axis=(1, 2))
    means[:, 0] += 0.3 * drawn.labels
    assert _cross_validated_accuracy(means, drawn.labels) > 0.7


def test_command_writes_a_contact_sheet(tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    module = "components.image_example_gen.drawing"
    command = [sys.executable, "-m", module, str(target), "--rows", "1", "--width", "400"]
    subprocess.run(command, check=True, capture_output=True)
    written = Image.open(target)
    assert (written.format, written.width) == ("PNG", 400)
    assert 100 < written.height < 250
