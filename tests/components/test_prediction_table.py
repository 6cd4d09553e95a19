"""Runs the real executor on drawn images and small exported models."""

from __future__ import annotations

import hashlib
import io
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx import types
from tfx.orchestration import metadata
from tfx.orchestration.portable import data_types
from tfx.types import artifact_utils, standard_artifacts

from components import integrity
from components.errors import PipelineError
from components.image_example_gen.examples import serialize
from components.image_example_gen.inspection import inspect
from components.image_example_gen.sources.base import SourceImage
from components.prediction_table import columns, perturbations
from components.prediction_table.component import Driver
from components.prediction_table.executor import Executor
from components.prediction_table.models import ScoringModel, load_baselines
from components.prediction_table.predict import find_digests
from components.prediction_table.table import BaselineState, Predictions, read
from components.quality_gate.judge import judge
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import PROBABILITIES
from tests.conftest import encode
from tests.serving import saved_models
from trainer import features

OUTPUT = "dog_probability"
ARGUMENTS = (
    *("--runner=FnApiRunner", "--direct_running_mode=multi_threading", "--direct_num_workers=2"),
    "--sdk_container_image=none",
)

# Numbers of drawn images: the third one of `test` is in `train` too, and the fourth is there twice.
SPLITS = {"train": [100, 101, 2], "eval": [200], "test": [0, 1, 2, 3, 3, 4, 5]}


def stored(number: int) -> bytes:
    """Returns a photograph-like gradient, another one for every number, and as PNG where that is odd."""
    down, right = np.mgrid[0:44, 0:60]
    pixels = np.stack([down * 4, right * 3, np.full_like(down, 17 * number % 256)], axis=-1) + number
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG" if number % 2 else "JPEG")
    return buffer.getvalue()


def write_examples(folder: Path, splits: Mapping[str, Sequence[int]]) -> standard_artifacts.Examples:
    """Writes images as ingest does, in two files a split."""
    artifact = standard_artifacts.Examples()
    artifact.uri, artifact.split_names = str(folder), artifact_utils.encode_split_names(list(splits))
    for split, numbers in splits.items():
        (folder / f"Split-{split}").mkdir(parents=True)
        for shard in range(2 if numbers else 0):
            with tf.io.TFRecordWriter(str(folder / f"Split-{split}" / f"{shard}")) as writer:
                for place, number in list(enumerate(numbers))[shard::2]:
                    data = stored(number)
                    found = SourceImage(
                        f"{place}-{number}.jpg", "home", number % 2, (split,), partial(bytes, data)
                    )
                    writer.write(serialize(found, data, inspect(data, 10**6), ["cat", "dog"]))
    return artifact


def model_artifact(folder: Path, number: int) -> standard_artifacts.Model:
    """Exports a network, another one for every number; that is its id too."""
    artifact = standard_artifacts.Model()
    artifact.id, artifact.uri = number, str(folder / f"model-{number}")
    saved_models.classifier(Path(artifact.uri), seed=number).rename(Path(artifact.uri) / "Format-Serving")
    return artifact


def make_table(folder: Path, inputs: Mapping[str, list[types.Artifact]], sample: int = 3) -> Predictions:
    """Runs the executor and reads what it wrote."""
    predictions = standard_artifacts.Examples()
    predictions.uri = str(folder)
    context = Executor.Context(beam_pipeline_args=list(ARGUMENTS))
    properties = {"class_names": '["cat", "dog"]', "perturbed_images": sample, "code_fingerprint": ""}
    Executor(context).Do(dict(inputs), {"predictions": [predictions]}, properties)
    assert artifact_utils.decode_split_names(predictions.split_names) == ["test"]
    return read(str(folder))


def asked(model: standard_artifacts.Model, images: Sequence[bytes]) -> np.ndarray:
    """Returns what the exported signature of bytes says, which is another one than the table asks."""
    signature = tf.saved_model.load(f"{model.uri}/Format-Serving").signatures["serving_default"]
    predicted: np.ndarray = signature(image_bytes=tf.constant(images))[OUTPUT].numpy()
    return predicted


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[standard_artifacts.Model]:
    folder = tmp_path_factory.mktemp("models")
    return [model_artifact(folder, number) for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, trained: list[standard_artifacts.Model]) -> Predictions:
    """The table of three models."""
    root = tmp_path_factory.mktemp("table")
    examples = write_examples(root / "examples", SPLITS)
    candidate, newest, best = ([model] for model in trained)
    inputs = {"examples": [examples], "model": candidate, "newest": newest, "best": best}
    return make_table(root / "predictions", inputs)


def test_every_model_is_asked_about_every_image(
    whole: Predictions, trained: list[standard_artifacts.Model]
) -> None:
    assert whole.filenames == ["0-0.jpg", "1-1.jpg", "2-2.jpg", "3-3.jpg", "4-3.jpg", "5-4.jpg", "6-5.jpg"]
    images = [stored(number) for number in SPLITS["test"]]
    predicted = [whole.probabilities, *(whole.baseline_probabilities[name] for name in ("newest", "best"))]
    for model, column in zip(trained, predicted, strict=True):
        np.testing.assert_allclose(column, asked(model, images), atol=1e-6)
    assert len({tuple(column.round(4)) for column in predicted}) == 3
    states = {
        name: BaselineState("compared", number, trained[number - 1].uri)
        for name, number in (("newest", 2), ("best", 3))
    }
    assert whole.baselines == states
    assert (whole.model_id, whole.model_uri, whole.class_names) == (1, trained[0].uri, ("cat", "dog"))


def test_a_row_tells_about_its_image(whole: Predictions) -> None:
    images = [stored(number) for number in SPLITS["test"]]
    assert whole.digests == [hashlib.sha256(data).hexdigest() for data in images]
    assert whole.labels.tolist() == [0, 1, 0, 1, 1, 0, 1]
    assert whole.slices[features.CLASS_NAME] == ["cat", "dog", "cat", "dog", "dog", "cat", "dog"]
    assert set(whole.slices[features.RESOLUTION_RANGE]) == {"under 50k pixels"}
    assert set(whole.slices) == set(columns.SLICES)


def test_images_that_were_trained_on_are_found(whole: Predictions) -> None:
    assert whole.seen.tolist() == [False, False, True, False, False, False, False]


def test_only_digests_that_are_also_in_test_leave_a_training_shard(tmp_path: Path) -> None:
    write_examples(tmp_path, {"train": [100, 2, 101]})
    first, second = (str(tmp_path / "Split-train" / shard) for shard in ("0", "1"))
    wanted = [hashlib.sha256(stored(number)).hexdigest() for number in (1, 2, 3)]
    assert (list(find_digests(first, wanted)), list(find_digests(second, wanted))) == ([], [wanted[1]])


def test_a_sample_is_asked_about_after_changes(
    whole: Predictions, trained: list[standard_artifacts.Model]
) -> None:
    smallest = sorted(set(whole.digests))[:3]
    chosen = [digest in smallest for digest in whole.digests]
    for name in columns.PERTURBATIONS:
        assert (~np.isnan(whole.changed[name])).tolist() == chosen
        changed = [
            perturbations.perturb(stored(SPLITS["test"][index]))[name] for index in np.flatnonzero(chosen)
        ]
        np.testing.assert_allclose(whole.changed[name][chosen], asked(trained[0], changed), atol=1e-6)
    [grey] = asked(trained[0], [encode_grey()])
    assert whole.grey == pytest.approx(grey, abs=1e-6)


def encode_grey() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 20), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_candidate_that_cannot_be_asked_stops_the_run(tmp_path: Path) -> None:
    gone = standard_artifacts.Model()
    gone.uri = str(tmp_path / "gone")
    with pytest.raises(PipelineError, match=str(tmp_path / "gone")):
        make_table(tmp_path / "table", {"examples": [], "model": [gone]})


def test_a_diverged_candidate_is_refused_by_the_gate_and_stops_nothing(
    tmp_path: Path, trained: list[standard_artifacts.Model]
) -> None:
    candidate = model_artifact(tmp_path, 3)
    diverged(Path(candidate.uri))
    examples = write_examples(tmp_path / "examples", SPLITS)
    inputs = {"examples": [examples], "model": [candidate], "newest": [trained[1]]}
    table = make_table(tmp_path / "table", inputs)
    assert len(table.labels) == len(SPLITS["test"])
    assert np.isnan(table.probabilities).all()
    assert math.isnan(table.grey)
    assert table.sampled.sum() == 3 + 1  # one of them is there twice
    assert not np.isnan(table.baseline_probabilities["newest"]).any()
    [refusal] = [rule for rule in judge(table, GateLimits()).failed if rule.name == PROBABILITIES]
    assert refusal.figure == 7


def test_without_an_earlier_model_there_is_none() -> None:
    assert load_baselines({"newest": []}, OUTPUT) == (
        {"newest": BaselineState("none"), "best": BaselineState("none")},
        {},
    )


def test_one_model_that_is_newest_and_best_is_loaded_once(trained: list[standard_artifacts.Model]) -> None:
    states, loaded = load_baselines({"newest": [trained[1]], "best": [trained[1]]}, OUTPUT)
    assert [states[name].state for name in ("newest", "best")] == ["compared", "same"]
    assert states["best"].model_id == 2
    assert set(loaded) == {"newest"}


def test_copies_of_one_model_are_told_by_where_it_was_blessed(
    tmp_path: Path, trained: list[standard_artifacts.Model]
) -> None:
    copies = []
    for name in ("newest", "best"):
        copy = standard_artifacts.Model()
        copy.uri = shutil.copytree(trained[1].uri, str(tmp_path / name))
        copy.set_string_custom_property("approved_uri", "gs://bucket/model")
        copies.append([copy])
    states, loaded = load_baselines(dict(zip(("newest", "best"), copies, strict=True)), OUTPUT)
    assert {state.uri for state in states.values()} == {"gs://bucket/model"}
    assert states["best"].state == "same"
    assert set(loaded) == {"newest"}


def remove(model: Path) -> None:
    shutil.rmtree(model)


def tear(model: Path) -> None:
    (model / "Format-Serving" / "saved_model.pb").write_bytes(b"torn")


def other_signature(model: Path) -> None:
    shutil.rmtree(model)
    saved_models.image_mean(model).rename(model / "Format-Serving")


def other_classes(model: Path) -> None:
    shutil.rmtree(model)
    saved_models.classifier(model, class_names=("dog", "cat")).rename(model / "Format-Serving")


def diverged(model: Path) -> None:
    shutil.rmtree(model)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: tf.fill(tf.shape(examples), math.nan)}

    tf.saved_model.save(tf.Module(), str(model / "Format-Serving"), signatures={"serving_examples": serve})


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (remove, "{uri}"),
        (tear, "TensorFlow"),
        (other_signature, "serving_examples"),
        (other_classes, OUTPUT),
        (diverged, "nan"),
    ],
)
def test_a_model_that_cannot_be_asked_is_told_with_the_reason(
    spoil: Callable[[Path], None], named: str, tmp_path: Path, trained: list[standard_artifacts.Model]
) -> None:
    artifact = model_artifact(tmp_path, 3)
    spoil(Path(artifact.uri))
    states, loaded = load_baselines({"newest": [artifact], "best": [artifact]}, OUTPUT)
    assert loaded == {}
    assert states["newest"] == states["best"]
    assert (states["newest"].state, states["newest"].model_id) == ("unreadable", 3)
    assert named.format(uri=artifact.uri) in states["newest"].reason

    states, loaded = load_baselines({"newest": [trained[1]], "best": [artifact]}, OUTPUT)
    assert [states[name].state for name in ("newest", "best")] == ["compared", "unreadable"]
    assert set(loaded) == {"newest"}


def test_a_model_that_still_loads_but_was_changed_is_unreadable(tmp_path: Path) -> None:
    artifact = model_artifact(tmp_path, 3)
    integrity.record_files(artifact.mlmd_artifact)
    assert load_baselines({"newest": [artifact]}, OUTPUT)[0]["newest"].state == "compared"
    with (Path(artifact.uri) / "Format-Serving" / "fingerprint.pb").open("ab") as file:
        file.write(bytes(1))
    states, loaded = load_baselines({"newest": [artifact]}, OUTPUT)
    assert (states["newest"].state, states["newest"].model_id, loaded) == ("unreadable", 3, {})


def test_what_kubeflow_found_gone_is_unreadable_with_its_reason(tmp_path: Path) -> None:
    marked = standard_artifacts.Model()
    marked.uri = str(tmp_path)
    marked.set_string_custom_property("approved_uri", "gs://bucket/model")
    marked.set_string_custom_property("unreadable", "its files are gone from the volume")
    states, _ = load_baselines({"newest": [marked]}, OUTPUT)
    assert states["newest"].reason == "its files are gone from the volume"
    assert states["newest"].uri == "gs://bucket/model"


def test_the_cache_is_told_when_an_earlier_model_goes_or_comes_back(tmp_path: Path) -> None:
    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path / "model")
    info = data_types.ExecutionInfo(input_dict={"model": [], "newest": [artifact], "best": []})
    driver = Driver(metadata.Metadata(metadata.sqlite_metadata_connection_config(str(tmp_path / "mlmd"))))

    def fingerprints() -> str:
        seen: str = driver.run(info).exec_properties["baseline_files"].string_value
        return seen

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"graph")
    whole = fingerprints()
    assert fingerprints() == whole
    (tmp_path / "model").rename(tmp_path / "lost")
    gone = fingerprints()
    assert gone != whole
    (tmp_path / "lost").rename(tmp_path / "model")
    assert fingerprints() == whole
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"torn")
    assert fingerprints() not in (whole, gone)


def pixels_of(encoded: bytes) -> np.ndarray:
    pixels: np.ndarray = tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()
    return pixels.astype(float)


@pytest.mark.parametrize("kind", [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P")])
def test_changes_are_those_that_they_are_called(kind: tuple[str, str]) -> None:
    original = encode(7, *kind, size=(41, 20))
    pixels, changed = pixels_of(original), perturbations.perturb(original)
    assert tuple(changed) == columns.PERTURBATIONS
    np.testing.assert_array_equal(pixels_of(changed["flipped"]), pixels[:, ::-1])
    np.testing.assert_allclose(pixels_of(changed["darkened"]), 0.85 * pixels, atol=0.5 + 1e-4)
    assert pixels_of(changed["resized"]).shape == (15, 31, 3)
    assert pixels_of(changed["resized"]).mean() == pytest.approx(pixels.mean(), abs=3)
    recompressed = changed["recompressed"]
    assert Image.open(io.BytesIO(recompressed)).format == "JPEG"
    assert 1 < np.abs(pixels_of(recompressed) - pixels).mean() < 60
    assert {Image.open(io.BytesIO(changed[name])).format for name in columns.PERTURBATIONS[:2]} == {"PNG"}


def test_a_image_of_one_pixel_can_be_resized() -> None:
    assert pixels_of(perturbations.perturb(encode(1, "PNG", size=(1, 1)))["resized"]).shape == (1, 1, 3)


def test_a_model_may_be_asked_by_many_threads(trained: list[standard_artifacts.Model]) -> None:
    model = ScoringModel(trained[0].uri, OUTPUT)
    records: list[Any] = [[perturbations.to_example(stored(number))] for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(model.probabilities, records))
    np.testing.assert_array_equal(together, [model.probabilities(each) for each in records])
