"""REST, gRPC, the `tf.Example` signature and the prediction table return the same predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from components.image_example_gen.drawing import jpeg

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TOLERANCE = 1e-5
PHOTOGRAPHS = 48
DRAWN = 24
OUTPUT = "dog_probability"


def export(folder: Path, image_size: int) -> None:
    """Exports a pretrained MobileNetV2 with an untrained head, as the Trainer does."""
    import keras

    from trainer import model, signatures, weights
    from trainer.training_config import TrainingConfig

    recipe = TrainingConfig(image_size=image_size)
    keras.utils.set_random_seed(recipe.seed)
    network = model.build(weights.load_backbone(recipe.backbone, image_size, recipe.weights), recipe)
    signatures.export(network, image_size, ("cat", "dog"), 50_000_000, str(folder))


def example(image: bytes) -> bytes:
    """Returns a serialized `tf.Example` of an image with the features that models read."""
    import tensorflow as tf

    from trainer import features

    made = tf.train.Example()
    made.features.feature[features.ENCODED].bytes_list.value.append(image)
    made.features.feature[features.LABEL].int64_list.value.append(0)
    serialized: bytes = made.SerializeToString()
    return serialized


def of_signature(model: Path, records: Sequence[bytes]) -> np.ndarray:
    """Returns the predictions of the `tf.Example` signature, called in this process."""
    import tensorflow as tf

    from trainer.signatures import EXAMPLES_SIGNATURE

    signature = tf.saved_model.load(str(model)).signatures[EXAMPLES_SIGNATURE]
    batches = [tf.constant(records[start : start + 16]) for start in range(0, len(records), 16)]
    return np.concatenate([signature(examples=batch)[OUTPUT].numpy() for batch in batches])


def of_table(model: Path, records: Sequence[bytes], artifact: Path) -> np.ndarray:
    """Returns the predictions for the prediction table, from which all metrics derive."""
    from components.prediction_table.models import ScoringModel

    artifact.mkdir()
    (artifact / "Format-Serving").symlink_to(model)
    return ScoringModel(str(artifact), OUTPUT).probabilities(records)


def predict_with_each_interface(
    model_dir: Path, images: Sequence[bytes], folder: Path
) -> dict[str, np.ndarray]:
    """Returns the predictions of each interface."""
    from serving.client import Client
    from serving.local import server_process

    predictions = {}
    with server_process.run_local_server(model_dir, "catsdogs", log=folder / "log") as server:
        server_process.wait_until_ready(server.process, server.rest_url, "catsdogs", 120, folder / "log")
        for interface, url in (("REST", server.rest_url), ("gRPC", f"grpc://{server.grpc_address}")):
            with Client(url, "catsdogs") as client:
                predictions[interface] = np.array(
                    [prediction.probability for prediction in client.predict(images)]
                )
    records = [example(image) for image in images]
    predictions["tf.Example signature"] = of_signature(model_dir / "1", records)
    predictions["prediction table"] = of_table(model_dir / "1", records, folder / "artifact")
    return predictions


def largest_difference(predictions: dict[str, np.ndarray]) -> float:
    """Returns the largest difference between predictions for the same image."""
    table = np.stack(list(predictions.values()))
    return float((table.max(axis=0) - table.min(axis=0)).max())


def test_every_interface_predicts_the_same_on_drawn_images(tmp_path: Path) -> None:
    export(tmp_path / "model" / "1", 96)
    images = [jpeg(index, 0, index % 2) for index in range(DRAWN)]
    predictions = predict_with_each_interface(tmp_path / "model", images, tmp_path)
    assert all(len(found) == DRAWN for found in predictions.values())
    assert predictions["REST"].std() > 0.01  # predictions depend on the images
    assert largest_difference(predictions) <= TOLERANCE


def test_every_interface_predicts_the_same_on_photographs(photographs: Path, tmp_path: Path) -> None:
    export(tmp_path / "model" / "1", 224)
    files = [
        file
        for kind in ("cats", "dogs")
        for file in sorted((photographs / "validation" / kind).iterdir())[: PHOTOGRAPHS // 2]
    ]
    images = [file.read_bytes() for file in files]
    predictions = predict_with_each_interface(tmp_path / "model", images, tmp_path)
    assert all(len(found) == PHOTOGRAPHS for found in predictions.values())
    assert predictions["REST"].std() > 0.01
    print(f"largest difference on {PHOTOGRAPHS} photographs: {largest_difference(predictions):.1e}")
    assert largest_difference(predictions) <= TOLERANCE
