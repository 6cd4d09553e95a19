"""The Transform executor on a few images."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from google.protobuf import text_format
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts
from tfx.types.artifact import Artifact

from components.curated_schema.component import load_schema
from components.image_example_gen.examples import serialize
from components.image_example_gen.inspection import inspect
from components.image_example_gen.sources.base import SourceImage
from components.image_transform.executor import Executor
from trainer.preprocessing import decode_and_resize, parse_transformed

SIZE = 40
SPLITS = {"train": 5, "eval": 3, "test": 2}


@pytest.fixture(scope="module")
def images(make_image: Callable[..., bytes]) -> dict[str, list[bytes]]:
    return {split: [make_image(10 * len(split) + i) for i in range(count)] for split, count in SPLITS.items()}


@pytest.fixture(scope="module")
def transformed(
    images: dict[str, list[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path | standard_artifacts.Examples]:
    root = tmp_path_factory.mktemp("transform")
    for split, encoded in images.items():
        folder = root / "examples" / f"Split-{split}"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001")) as writer:
            for i, data in enumerate(encoded):
                image = SourceImage(f"{i}.jpg", "folder", i % 2, (split,), partial(bytes, data))
                writer.write(serialize(image, data, inspect(data, 10**6), ["cat", "dog"]))
    (root / "schema").mkdir()
    (root / "schema" / "schema.pbtxt").write_text(text_format.MessageToString(load_schema(["cat", "dog"])))

    graph, output = standard_artifacts.TransformGraph(), standard_artifacts.Examples()
    graph.uri, output.uri = str(root / "graph"), str(root / "transformed")
    _transform(root, {"transform_graph": [graph], "transformed_examples": [output]})
    return {"root": root, "examples": output}


def _transform(root: Path, outputs: dict[str, list[Artifact]]) -> None:
    examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
    examples.uri, examples.split_names = str(root / "examples"), json.dumps(list(SPLITS))
    schema.uri = str(root / "schema")
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=none"],
        tmp_dir=str(root / "tmp"),
        unique_id="1",
    )
    Executor(context).Do(
        {"examples": [examples], "schema": [schema]},
        outputs,
        {
            "preprocessing_fn": "trainer.preprocessing.preprocessing_fn",
            "custom_config": json.dumps({"image_size": SIZE}),
            "splits_config": '{"analyze": ["train"], "transform": ["train", "eval"]}',
            "disable_statistics": 1,
        },
    )


@pytest.mark.parametrize("split", ["train", "eval"])
def test_stored_pixels_equal_those_that_serving_computes(
    split: str, transformed: dict[str, Path], images: dict[str, list[bytes]]
) -> None:
    files = tf.io.gfile.glob(str(transformed["root"] / "transformed" / f"Split-{split}" / "*"))
    stored = [parse_transformed(record, SIZE) for record in tf.data.TFRecordDataset(files)]

    np.testing.assert_array_equal(
        [pixels for pixels, _ in stored], decode_and_resize(tf.constant(images[split]), SIZE)
    )
    assert [int(label) for _, label in stored] == [i % 2 for i in range(SPLITS[split])]


def test_only_training_splits_are_stored(
    transformed: dict[str, standard_artifacts.Examples],
) -> None:
    examples = transformed["examples"]
    assert json.loads(examples.split_names) == ["train", "eval"]
    assert not (Path(examples.uri) / "Split-test").exists()


def test_transform_graph_has_all_features(transformed: dict[str, Path]) -> None:
    output = tft.TFTransformOutput(str(transformed["root"] / "graph"))
    assert set(output.transformed_feature_spec()) == {"pixels", "image/class/label"}


def test_only_the_graph_is_written_without_materialisation(
    transformed: dict[str, Path], tmp_path: Path
) -> None:
    graph = standard_artifacts.TransformGraph()
    graph.uri = str(tmp_path / "graph")
    outputs: dict[str, list[Artifact]] = {"transform_graph": [graph]}  # of a component with materialize=False
    _transform(transformed["root"], outputs)
    assert set(outputs) == {"transform_graph"}
    assert tft.TFTransformOutput(graph.uri).transformed_feature_spec()


def test_examples_can_be_written_to_a_tensorflow_file_system(
    transformed: dict[str, Path], tmp_path: Path
) -> None:
    """Such as gs:// on Kubeflow."""
    graph, output = standard_artifacts.TransformGraph(), standard_artifacts.Examples()
    graph.uri, output.uri = str(tmp_path / "graph"), "ram://bucket/run/transformed"
    _transform(transformed["root"], {"transform_graph": [graph], "transformed_examples": [output]})
    name = "data_tfrecord-00000-of-00001.tfrecord"
    assert tf.io.gfile.glob("ram://bucket/run/transformed/*/*") == [
        f"ram://bucket/run/transformed/Split-{split}/{name}" for split in ("eval", "train")
    ]
    for split in ("train", "eval"):
        stored = _records(f"{output.uri}/Split-{split}/{name}")
        assert len(stored) == SPLITS[split]
        assert stored == _records(str(transformed["root"] / "transformed" / f"Split-{split}" / name))


def _records(file: str) -> list[bytes]:
    return list(tf.data.TFRecordDataset(file).as_numpy_iterator())
