"""A trained model predicts the same label for perturbed images (prediction consistency)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from components.image_example_gen.drawing import jpeg

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DRAWN, PHOTOGRAPHS = (800, 300), (400, 100)  # images for training (quickstart: 800) and for perturbations
MIN_CONSISTENCY = 0.97
SIZE = 192

Labelled = tuple[bytes, int]


def trained(images: Sequence[Labelled], folder: Path) -> Path:
    """Exports a model whose head is fitted to the backbone's features of images and their mirror images.

    This is the optimum of the first phase, whose training would take minutes.
    """
    import keras
    import tensorflow as tf
    from sklearn.linear_model import LogisticRegression

    from trainer import model, signatures, weights
    from trainer.preprocessing import decode_and_resize
    from trainer.training_config import TrainingConfig

    recipe = TrainingConfig(image_size=SIZE)
    network = model.build(weights.load_backbone(recipe.backbone, SIZE, recipe.weights), recipe)
    pooled = keras.Model(network.input, network.get_layer("pool").output)
    pixels = decode_and_resize(tf.constant([encoded for encoded, _ in images]), SIZE)
    labels = np.array([label for _, label in images])
    seen = [pooled.predict(tf.cast(views, tf.float32), verbose=0) for views in (pixels, pixels[:, :, ::-1])]
    head = LogisticRegression(C=0.01, max_iter=1000).fit(np.concatenate(seen), np.tile(labels, 2))
    network.get_layer("probability").set_weights([head.coef_.T, head.intercept_])
    signatures.export(network, SIZE, ("cat", "dog"), 50_000_000, str(folder / "artifact" / "Format-Serving"))
    return folder / "artifact"


def prediction_consistency(artifact: Path, images: Sequence[Labelled]) -> dict[str, float]:
    """Returns the prediction consistency by perturbation, and the `accuracy` on the unchanged images."""
    from components.prediction_table import perturbations
    from components.prediction_table.models import ScoringModel

    model = ScoringModel(str(artifact), "dog_probability")

    def predict_labels(encoded: Sequence[bytes]) -> np.ndarray:
        records = [perturbations.to_example(one) for one in encoded]
        batches = [records[start : start + 32] for start in range(0, len(records), 32)]
        return np.concatenate([model.probabilities(batch) for batch in batches]) >= 0.5

    before = predict_labels([encoded for encoded, _ in images])
    perturbed = [perturbations.perturb(encoded) for encoded, _ in images]
    shares = {
        name: float((predict_labels([one[name] for one in perturbed]) == before).mean())
        for name in perturbed[0]
    }
    return {**shares, "accuracy": float((before == np.array([label for _, label in images])).mean())}


def check(shares: dict[str, float]) -> None:
    print(shares)
    assert shares.pop("accuracy") >= 0.9, "an untrained model may also be consistent"
    assert set(shares) == {"flipped", "darkened", "recompressed", "resized"}
    assert min(shares.values()) >= MIN_CONSISTENCY, shares


def test_predictions_are_consistent_on_drawn_images(tmp_path: Path) -> None:
    drawn = [(jpeg(index, 0, index % 2), index % 2) for index in range(sum(DRAWN))]
    check(prediction_consistency(trained(drawn[: DRAWN[0]], tmp_path), drawn[DRAWN[0] :]))


def test_predictions_are_consistent_on_photographs(photographs: Path, tmp_path: Path) -> None:
    def labelled(split: str, count: int) -> list[Labelled]:
        return [
            (file.read_bytes(), label)
            for label, kind in enumerate(("cats", "dogs"))
            for file in sorted((photographs / split / kind).iterdir())[: count // 2]
        ]

    fitted, perturbed = PHOTOGRAPHS
    check(
        prediction_consistency(
            trained(labelled("train", fitted), tmp_path), labelled("validation", perturbed)
        )
    )
