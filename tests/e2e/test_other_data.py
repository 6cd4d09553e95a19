"""Your own images: two other classes, and errors for folders that cannot be used."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image, ImageDraw

from tests.e2e.driver import JUDGEMENT, STEPS, TRAINING, Run, Workshop

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CLASSES = ("--set", "data.class_names=[ant,bee]")


def draw(kind: str, seed: int) -> Image.Image:
    """Returns an image of an insect on a meadow: three dark blobs (ant), or a striped yellow one (bee)."""
    chance = random.Random(f"{kind} {seed}")
    width, height = chance.randint(80, 120), chance.randint(80, 120)
    noise = Image.effect_noise((width, height), 40)
    image = Image.merge("RGB", [noise.point(lambda v: v // 3), noise, noise.point(lambda v: v // 3)])
    pen = ImageDraw.Draw(image)
    x, y, r = chance.randint(35, width - 35), chance.randint(25, height - 25), chance.randint(8, 12)
    if kind == "ant":
        for shift in (-2 * r, 0, 2 * r):
            pen.ellipse((x + shift - r, y - r, x + shift + r, y + r), fill=(90, 30, 15))
    else:
        pen.ellipse((x - 2 * r, y - r, x + 2 * r, y + r), fill=(245, 200, 20))
        for shift in (-r, 0, r):
            pen.line((x + shift, y - r, x + shift, y + r), fill=(20, 15, 10), width=4)
    return image


def insects(root: Path, ants: int, bees: int) -> Path:
    """Draws `root/ants/*.jpg` and `root/Bees/*.png`."""
    for kind, folder, count, ending in (("ant", "ants", ants, "jpg"), ("bee", "Bees", bees, "png")):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            draw(kind, index).save(root / folder / f"{index:03}.{ending}")
    return root


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = insects(tmp_path_factory.mktemp("images") / "insects", 80, 80)
    whole = (root / "ants" / "000.jpg").read_bytes()
    (root / "ants" / "torn.jpg").write_bytes(whole[: len(whole) // 3])
    return root


@pytest.fixture(scope="module")
def run(workshop: Workshop, images: Path) -> Run:
    return workshop.run(
        *("--images", str(images), *CLASSES),
        *("--set", "training.image_size=64"),
        *("--set", "training.frozen={epochs: 2, learning_rate: 0.01}"),
        *("--set", "training.fine_tuning.epochs=0"),
        *("--set", "evaluation.min_accuracy=0.8"),
    )


def test_two_other_classes_are_blessed_and_pushed(run: Run) -> None:
    assert run.status == 0, run.output
    assert run.steps("done") == STEPS


def test_the_model_is_named_after_the_second_class(workshop: Workshop, run: Run) -> None:
    [version] = run.pushed
    unseen = [(kind, draw(kind, 1000 + index)) for kind in ("ant", "bee") for index in range(10)]
    files = []
    for _, image in unseen:
        path = workshop.output.parent / "unseen.jpg"
        image.save(path)
        files.append(path.read_bytes())

    prediction = tf.saved_model.load(str(version)).signatures["serving_default"](
        image_bytes=tf.constant(files)
    )

    assert set(prediction) == {"bee_probability", "label"}
    is_correct = [
        label == kind.encode() for label, (kind, _) in zip(prediction["label"].numpy(), unseen, strict=True)
    ]
    assert sum(is_correct) >= 16


def test_a_truncated_image_is_rejected_by_name(workshop: Workshop, run: Run) -> None:
    rejected = Path(workshop.artifacts(run, "ImageExampleGen")["rejected"].uri) / "rejected.csv"
    [_, line] = rejected.read_text().splitlines()
    assert line.startswith("ants/torn.jpg,")
    assert "ants/torn.jpg" in run.log("ImageExampleGen")


def test_a_single_class_is_refused_at_once(workshop: Workshop, tmp_path: Path) -> None:
    root = insects(tmp_path / "insects", 3, 1)
    shutil.rmtree(root / "Bees")

    run = workshop.run("--images", str(root), *CLASSES)

    assert run.status == 2
    [error] = run.output.splitlines()
    assert all(value in error for value in (str(root), "'ants'", "'bee'", "data.class_names"))
    assert run.folder is None


def test_a_class_without_usable_images_is_rejected_by_the_gate(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    root = insects(tmp_path / "insects", 60, 0)
    (root / "Bees" / "torn.png").write_bytes(b"\x89PNG torn")

    run = workshop.run("--images", str(root), *CLASSES, "--set", "data.max_rejected_fraction=0.1")

    assert run.status == 4
    assert all(value in run.output for value in ("'test'", "image/class/text", "data.split.seed"))
    assert "Traceback" not in run.output
    assert run.steps("failed") == {"DataGate"}
    assert run.steps("waiting") == TRAINING | JUDGEMENT | {"BlessedModel", "BestModel"}
    assert run.pushed == []
