"""The drawn sample: the same for the same arguments, varied, and told apart by the animal alone."""

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
class _Drawn:
    """Pictures of cats and dogs by turns: 16x16 RGB values (0 to 1), width and height, bytes of JPEG."""

    labels: NDArray[np.int64]
    thumbnails: NDArray[np.float64]
    sizes: NDArray[np.float64]
    weights: NDArray[np.float64]


@pytest.fixture(scope="module")
def drawn() -> _Drawn:
    labels = np.arange(_MANY) % 2
    encoded = [jpeg(index, 0, int(label)) for index, label in enumerate(labels)]
    pictures = [Image.open(io.BytesIO(one)) for one in encoded]
    thumbnails = [
        np.asarray(picture.resize((16, 16), Image.Resampling.BOX), float) / 255 for picture in pictures
    ]
    sizes = np.array([picture.size for picture in pictures], float)
    return _Drawn(labels, np.stack(thumbnails), sizes, np.array([len(one) for one in encoded], float))


def _cross_validated_accuracy(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The share that a ridge classifier gets right on the fifths it was not fitted on."""
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)
    features = np.column_stack([features, np.ones(len(features))])
    target, fold = 2.0 * labels - 1, np.arange(len(labels)) // 2 % 5
    right = 0
    for part in range(5):
        fit, judged = fold != part, fold == part
        penalty = np.eye(features.shape[1])
        weights = np.linalg.solve(features[fit].T @ features[fit] + penalty, features[fit].T @ target[fit])
        right += int((np.sign(features[judged] @ weights) == target[judged]).sum())
    return right / len(labels)


def test_another_process_draws_the_same_bytes() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        theirs = list(pool.map(jpeg, [5, 4], [0, 0], [CAT, DOG]))
    assert theirs == [jpeg(5, 0, CAT), jpeg(4, 0, DOG)]


def test_index_seed_and_label_each_change_the_picture() -> None:
    assert len({jpeg(1, 1, CAT), jpeg(2, 1, CAT), jpeg(1, 2, CAT), jpeg(1, 1, DOG)}) == 4


@pytest.mark.parametrize("label", [2, -1, None])
def test_an_unknown_label_is_refused_by_name(label: int) -> None:
    with pytest.raises(ValueError, match=str(label)):
        draw(0, 0, label)


def test_jpeg_decodes_to_the_drawn_size_at_a_modest_weight() -> None:
    for index in range(6):
        encoded = jpeg(index, 0, index % 2)
        picture = Image.open(io.BytesIO(encoded))
        picture.load()
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", draw(index, 0, index % 2).size)
        assert 3_000 < len(encoded) < 60_000


def test_shapes_brightness_and_colours_vary(drawn: _Drawn) -> None:
    ratio = drawn.sizes[:, 0] / drawn.sizes[:, 1]
    assert ratio.min() < 0.85
    assert ratio.max() > 1.35
    assert np.ptp(drawn.thumbnails.mean(axis=(1, 2, 3))) > 0.4
    assert (drawn.thumbnails.std(axis=(1, 2)).mean(axis=1) > 0.03).all(), "a flat picture"
    assert (drawn.thumbnails.mean(axis=(1, 2)).std(axis=0) > 0.1).all(), "one colour prevails"


def test_both_animals_of_an_index_stand_in_the_same_place() -> None:
    """The label must not reach the background: the border pixels that no animal covers agree."""
    for index in range(12):
        cat, dog = (np.asarray(draw(index, 0, label), np.int16) for label in (CAT, DOG))
        assert cat.shape == dog.shape
        top_edge = np.abs(cat[:6] - dog[:6]).max(axis=(0, 2))
        assert (top_edge < 3).mean() > 0.5, f"picture {index}"


def test_colour_and_size_alone_do_not_tell_cats_from_dogs(drawn: _Drawn) -> None:
    features = np.column_stack([drawn.thumbnails.mean(axis=(1, 2)), drawn.sizes])
    assert _cross_validated_accuracy(features, drawn.labels) < 0.6


def test_the_weight_of_the_file_does_not_tell_cats_from_dogs(drawn: _Drawn) -> None:
    assert _cross_validated_accuracy(drawn.weights[:, None], drawn.labels) < 0.65


def test_the_classifier_of_these_tests_finds_a_colour_that_leaks(drawn: _Drawn) -> None:
    means = drawn.thumbnails.mean(axis=(1, 2))
    means[:, 0] += 0.3 * drawn.labels
    assert _cross_validated_accuracy(means, drawn.labels) > 0.7


def test_command_writes_a_sheet(tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    module = "components.image_example_gen.drawing"
    command = [sys.executable, "-m", module, str(target), "--rows", "1", "--width", "400"]
    subprocess.run(command, check=True, capture_output=True)
    written = Image.open(target)
    assert (written.format, written.width) == ("PNG", 400)
    assert 100 < written.height < 250
