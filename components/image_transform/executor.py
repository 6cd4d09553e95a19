"""Creates the transform graph with TFX's Transform, then applies it shard by shard.

TFX's Transform compresses its examples with gzip, which took two thirds of its time on photographs, and its
batches grow until large images fill the memory (tfx#5777). Here each input shard is one Beam element: it is
read, transformed by the saved graph in batches of fixed size, and written uncompressed.
"""

from __future__ import annotations

import logging
import posixpath
import uuid
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft
from tfx import types
from tfx.components.transform import executor as tfx_transform
from tfx.components.transform import executor_utils
from tfx.components.util import examples_utils
from tfx.types import artifact_utils
from tfx.types.standard_component_specs import (
    EXAMPLES_KEY,
    SPLITS_CONFIG_KEY,
    TRANSFORM_GRAPH_KEY,
    TRANSFORMED_EXAMPLES_KEY,
)

from components.same_code import SameCodeDoFn

_BATCH_SIZE = 32
_progress = logging.getLogger("catsdogs.progress")


class Executor(tfx_transform.Executor):
    """TFX's Transform executor with its own materialisation of examples."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the transform graph and the transformed splits; see TFX's Transform for the arguments."""
        materialised = output_dict.pop(TRANSFORMED_EXAMPLES_KEY, None)
        super().Do(input_dict, output_dict, exec_properties)
        if materialised is None:
            return
        output_dict[TRANSFORMED_EXAMPLES_KEY] = materialised

        splits = executor_utils.ResolveSplitsConfig(
            exec_properties.get(SPLITS_CONFIG_KEY), input_dict[EXAMPLES_KEY]
        ).transform
        executor_utils.SetSplitNames(splits, materialised)
        source = artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY])
        target = artifact_utils.get_single_instance(materialised)
        examples_utils.set_file_format(target, "tfrecords")
        shards = [
            (shard, posixpath.join(artifact_utils.get_split_uri([target], split), f"{_stem(shard)}.tfrecord"))
            for split in splits
            for shard in sorted(tf.io.gfile.glob(f"{artifact_utils.get_split_uri([source], split)}/*"))
        ]
        graph = artifact_utils.get_single_uri(output_dict[TRANSFORM_GRAPH_KEY])
        # Readers take every file in the splits' folders.
        unfinished_folder = posixpath.join(target.uri, "unfinished")
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(shards)
                | "Spread" >> beam.Reshuffle()
                | "Transform" >> beam.ParDo(_TransformShard(graph, unfinished_folder))
            )
        if tf.io.gfile.exists(unfinished_folder):
            tf.io.gfile.rmtree(unfinished_folder)


class _TransformShard(SameCodeDoFn):
    """Transforms one file of raw examples into one file of transformed examples.

    Args:
        transform_graph: Folder of the transform graph.
        unfinished_folder: Folder in which files are written before they are moved into place.
    """

    def __init__(self, transform_graph: str, unfinished_folder: str) -> None:
        super().__init__()
        self._transform_graph = transform_graph
        self._unfinished_folder = unfinished_folder

    def setup(self) -> None:
        """Loads the transform graph, once per worker."""
        super().setup()
        output = tft.TFTransformOutput(self._transform_graph)
        spec = output.raw_feature_spec()
        layer = output.transform_features_layer()

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def transform(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            transformed: dict[str, tf.Tensor] = layer(tf.io.parse_example(serialized, spec))
            return transformed

        self._transform = transform

    def process(self, paths: tuple[str, str]) -> Iterator[None]:
        """Transforms the file `paths[0]` into the file `paths[1]`."""
        source, target = paths
        compression = "GZIP" if source.endswith(".gz") else ""
        temporary_path = posixpath.join(self._unfinished_folder, uuid.uuid4().hex)  # unique: Beam may retry
        for path in (temporary_path, target):
            tf.io.gfile.makedirs(posixpath.dirname(path))
        batches = (
            tf.data.TFRecordDataset(source, compression_type=compression)
            .batch(_BATCH_SIZE)
            .map(self._transform, num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(tf.data.AUTOTUNE)
        )
        count = 0
        with tf.io.TFRecordWriter(temporary_path) as writer:
            for batch in batches.as_numpy_iterator():
                for values in zip(*batch.values(), strict=True):
                    writer.write(_example(dict(zip(batch, values, strict=True))))
                    count += 1
        tf.io.gfile.rename(temporary_path, target, overwrite=True)
        _progress.info("%s: %d images", posixpath.basename(target), count)
        yield from ()


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _example(values: dict[str, Any]) -> bytes:
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, bytes)
        else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        for name, value in values.items()
    }
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return serialized
