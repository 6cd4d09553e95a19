"""One picture, four ways to the model: REST, gRPC, the signature for `tf.Example`s, the table. One answer."""

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
    """Writes an untrained head on a pretrained MobileNetV2 as the Trainer exports it."""
    import keras

    from trainer import model, signatures, weights
    from trainer.training_config import TrainingConfig

    recipe = TrainingConfig(image_size=image_size)
    keras.utils.set_random_seed(recipe.seed)
    network = model.build(weights.load_backbone(recipe.backbone, image_size, recipe.weights), recipe)
    signatures.export(network, image_size, ("cat", "dog"), str(folder))


def example(picture: bytes) -> bytes:
    """Returns the `tf.Example` of a picture, as far as models look at it."""
    import tensorflow as tf

    from trainer import features

    made = tf.train.Example()
    made.features.feature[features.ENCODED].bytes_list.value.append(picture)
    made.features.feature[features.LABEL].int64_list.value.append(0)
    serialized: bytes = made.SerializeToString()
    return serialized


def of_signature(model: Path, records: Sequence[bytes]) -> np.ndarray:
    """Returns what the signature for `tf.Example`s says, called in this process."""
    import tensorflow as tf

    from trainer.signatures import EXAMPLES_SIGNATURE

    signature = tf.saved_model.load(str(model)).signatures[EXAMPLES_SIGNATURE]
    batches = [tf.constant(records[start : start + 16]) for start in range(0, len(records), 16)]
    return np.concatenate([signature(examples=batch)[OUTPUT].numpy() for batch in batches])


def of_table(model: Path, records: Sequence[bytes], artifact: Path) -> np.ndarray:
    """Returns what the prediction table, from which all figures derive, is given for the pictures."""
    from components.prediction_table.models import ScoringModel

    artifact.mkdir()
    (artifact / "Format-Serving").symlink_to(model)
    return ScoringModel(str(artifact), OUTPUT).probabilities(records)


def all_answers(model_dir: Path, pictures: Sequence[bytes], folder: Path) -> dict[str, np.ndarray]:
    """Returns the probabilities that each way gives."""
    from serving.client import Client
    from serving.local import server_process

    answers = {}
    with server_process.run_local_server(model_dir, "catsdogs", log=folder / "log") as server:
        server_process.wait_until_ready(server.process, server.rest_url, "catsdogs", 120, folder / "log")
        for way, url in (("REST", server.rest_url), ("gRPC", f"grpc://{server.grpc_address}")):
            with Client(url, "catsdogs") as client:
                answers[way] = np.array([said.probability for said in client.predict(pictures)])
    records = [example(picture) for picture in pictures]
    answers["tf.Example signature"] = of_signature(model_dir / "1", records)
    answers["prediction table"] = of_table(model_dir / "1", records, folder / "artifact")
    return answers


def largest_difference(answers: dict[str, np.ndarray]) -> float:
    """Returns how far the answers to a picture lie apart, at most."""
    table = np.stack(list(answers.values()))
    return float((table.max(axis=0) - table.min(axis=0)).max())


def test_every_way_gives_the_same_answers_on_drawn_pictures(tmp_path: Path) -> None:
    export(tmp_path / "model" / "1", 96)
    pictures = [jpeg(index, 0, index % 2) for index in range(DRAWN)]
    answers = all_answers(tmp_path / "model", pictures, tmp_path)
    assert all(len(found) == DRAWN for found in answers.values())
    assert answers["REST"].std() > 0.01  # they look at the pictures
    assert largest_difference(answers) <= TOLERANCE


def test_every_way_gives_the_same_answers_on_photographs(photographs: Path, tmp_path: Path) -> None:
    export(tmp_path / "model" / "1", 224)
    files = [
        file
        for kind in ("cats", "dogs")
        for file in sorted((photographs / "validation" / kind).iterdir())[: PHOTOGRAPHS // 2]
    ]
    pictures = [file.read_bytes() for file in files]
    answers = all_answers(tmp_path / "model", pictures, tmp_path)
    assert all(len(found) == PHOTOGRAPHS for found in answers.values())
    assert answers["REST"].std() > 0.01
    print(f"largest difference on {PHOTOGRAPHS} photographs: {largest_difference(answers):.1e}")
    assert largest_difference(answers) <= TOLERANCE
