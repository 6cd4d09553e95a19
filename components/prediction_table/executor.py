"""Predicts `test` with all models in one pass over the examples."""

from __future__ import annotations

import heapq
import itertools
import json
import logging
import posixpath
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.utils.shared import Shared
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.errors import PipelineError
from components.prediction_table import columns
from components.prediction_table.models import ScoringModel, UnreadableModel, load_baselines
from components.prediction_table.predict import (
    ModelsByColumn,
    PredictDoFn,
    find_digests,
    read_digests,
    shard_index,
)
from components.prediction_table.table import (
    INVALID_SHARD,
    SHARD,
    SPLIT,
    TableMetadata,
    encode,
    write_metadata,
)
from trainer.signatures import probability_name

_progress = logging.getLogger("catsdogs.progress")


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the prediction table; see `PredictionTable` for the artifacts and parameters."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Predicts all test images and writes the table.

        Raises:
            PipelineError: The candidate cannot be loaded or makes no predictions.
        """
        candidate = artifact_utils.get_single_instance(input_dict["model"])
        predictions = artifact_utils.get_single_instance(output_dict["predictions"])
        first, second = json.loads(exec_properties["class_names"])
        output = probability_name((first, second))

        _progress.info("loading the models")
        states, baselines = load_baselines(input_dict, output)
        models = ModelsByColumn({columns.PROBABILITY: _load(candidate, output)})
        models.update({columns.BASELINE_COLUMNS[name]: model for name, model in baselines.items()})

        examples = artifact_utils.get_single_instance(input_dict["examples"])
        self._write_rows(examples, predictions.uri, models, exec_properties["perturbed_images"])
        grey = models[columns.PROBABILITY].grey
        write_metadata(
            predictions.uri, TableMetadata((first, second), candidate.id, candidate.uri, states, grey)
        )
        predictions.split_names = artifact_utils.encode_split_names([SPLIT])
        examples_utils.set_payload_format(predictions, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(predictions, "tfrecords_gzip")

    def _write_rows(self, examples: types.Artifact, folder: str, models: ModelsByColumn, sample: int) -> None:
        shared = Shared()
        shared.acquire(lambda: models)  # workers in this process share the loaded models
        files = {
            split: sorted(tf.io.gfile.glob(f"{artifact_utils.get_split_uri([examples], split)}/*"))
            for split in artifact_utils.decode_split_names(examples.split_names)
        }
        test_files = files.pop(SPLIT)
        with self._make_beam_pipeline() as pipeline:
            test_shards = (
                pipeline | "TestShards" >> beam.Create(test_files) | "SpreadTestShards" >> beam.Reshuffle()
            )
            test_digests = test_shards | "TestDigests" >> beam.FlatMap(read_digests) | beam.combiners.ToList()
            sampled = test_digests | "Sample" >> beam.Map(
                lambda digests: heapq.nsmallest(sample, set(digests))
            )
            total = test_digests | "Count" >> beam.Map(len)
            # Only digests that are also in `test` leave a worker: there may be millions of others.
            seen = (
                pipeline
                | "TrainingShards" >> beam.Create(list(itertools.chain(*files.values())))
                | "SpreadTrainingShards" >> beam.Reshuffle()
                | "SeenInTraining" >> beam.FlatMap(find_digests, beam.pvalue.AsSingleton(test_digests))
                | beam.combiners.ToSet()
            )
            rows = test_shards | "Predict" >> beam.ParDo(
                PredictDoFn(models, shared),
                beam.pvalue.AsSingleton(sampled),
                beam.pvalue.AsSingleton(total),
                beam.pvalue.AsSingleton(seen),
            )
            written = rows | "ByValidity" >> beam.Partition(shard_index, 2)
            for shard, part in zip((SHARD, INVALID_SHARD), written, strict=True):
                prefix, _, suffix = posixpath.join(folder, shard).rpartition("-00000-of-00001")
                _ = (
                    part
                    | f"Encode {shard}" >> beam.Map(encode)
                    | f"Write {shard}"
                    >> beam.io.WriteToTFRecord(prefix, file_name_suffix=suffix, num_shards=1)
                )


def _load(candidate: types.Artifact, output: str) -> ScoringModel:
    try:
        return ScoringModel(candidate.uri, output)
    except UnreadableModel as error:
        raise PipelineError(
            f"The trained model in {candidate.uri} cannot predict images: {error}. Change how it is trained, "
            "or remove that folder, and run again."
        ) from error
