"""Stops the run if ExampleValidator reported anomalies or the data has drifted."""

from __future__ import annotations

import json
import logging
from typing import Any, ClassVar

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import io_utils

from components import fingerprint
from components.artifacts import DataVerdict
from components.data_gate import anomaly_messages
from components.errors import DataRejected
from components.statistics import Statistics, class_shares, image_count, value_counts
from trainer import features

STATISTICS_ID = "statistics_id"
SOURCE = "source"

# In the small splits, class shares vary too much by chance.
DRIFT_SPLIT = "train"
_DRIFT_TYPES = ("COMPARATOR_L_INFTY_HIGH", "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH")
_DISTANCE_NAMES = {features.CLASS_NAME: "class name", features.BRIGHTNESS: "brightness"}


def with_max_class_shift(schema: schema_pb2.Schema, max_class_shift: float) -> schema_pb2.Schema:
    """Returns a copy of the schema that limits the change of a class's share to `max_class_shift`, 0 to 1."""
    limited_schema = schema_pb2.Schema()
    limited_schema.CopyFrom(schema)
    column = next(feature for feature in limited_schema.feature if feature.name == features.CLASS_NAME)
    column.drift_comparator.infinity_norm.threshold = max_class_shift
    return limited_schema


def find_drift(
    statistics: Statistics, baseline: Statistics, schema: schema_pb2.Schema
) -> anomalies_pb2.Anomalies:
    """Compares statistics with those of the last accepted data.

    Returns:
        TFDV's drift anomalies, without other anomalies, and all measured distances in `drift_skew_info`.
    """
    anomalies = tfdv.validate_statistics(statistics, schema, previous_statistics=baseline)
    drift = anomalies_pb2.Anomalies(drift_skew_info=anomalies.drift_skew_info)
    for name, info in anomalies.anomaly_info.items():
        reasons = [
            reason
            for reason in info.reason
            if anomalies_pb2.AnomalyInfo.Type.Name(reason.type) in _DRIFT_TYPES
        ]
        if reasons:
            drift.anomaly_info[name].reason.extend(reasons)
    return drift


def data_verdict(
    splits: dict[str, Statistics], baseline: Statistics | None, drift: anomalies_pb2.Anomalies | None
) -> dict[str, Any]:
    """Returns the verdict on accepted data: counts and class shares per split, and the measured drift."""
    verdict: dict[str, Any] = {
        "accepted": True,
        "splits": {split: _count_images(statistics) for split, statistics in splits.items()},
        "compared_with": None,
    }
    total = sum(image_count(statistics) for statistics in splits.values())
    sizes = ", ".join(f"{split} {image_count(statistics):,}" for split, statistics in splits.items())
    verdict["summary"] = f"{total:,} images accepted ({sizes})"
    if baseline is None or drift is None:
        verdict["summary"] += "; there is no earlier accepted data to compare with"
        return verdict
    verdict["compared_with"] = {
        "split": DRIFT_SPLIT,
        **_count_images(baseline),
        "distances": {
            _DISTANCE_NAMES.get(info.path.step[0], info.path.step[0]): {
                "value": measured.value,
                "allowed": measured.threshold,
            }
            for info in drift.drift_skew_info
            for measured in info.drift_measurements
        },
    }
    now, before = class_shares(splits[DRIFT_SPLIT]), class_shares(baseline)
    shift = max(abs(now.get(name, 0) - before.get(name, 0)) for name in now.keys() | before.keys())
    verdict["summary"] += (
        f"; class shares changed by {100 * shift:.3g} percentage points since the last accepted data"
    )
    return verdict


def _count_images(statistics: Statistics) -> dict[str, Any]:
    counts = value_counts(statistics, features.CLASS_NAME)
    shares = class_shares(statistics)
    return {
        "pictures": image_count(statistics),
        "classes": {
            name: {"pictures": count, "share": shares[name]} for name, count in sorted(counts.items())
        },
    }


class DataGateSpec(component_spec.ComponentSpec):
    """Parameters and channels of `DataGate`."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "source": component_spec.ExecutionParameter(type=str),
        "max_class_shift": component_spec.ExecutionParameter(type=float),
        "code_fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "baseline_statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {"verdict": component_spec.ChannelParameter(type=DataVerdict)}


class Executor(base_executor.BaseExecutor):
    """Fails if there are anomalies; otherwise writes `verdict.json`."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the data of every split.

        Raises:
            DataRejected: The data violates the schema or has drifted from the last accepted data.
        """
        artifact = artifact_utils.get_single_instance(input_dict["statistics"])
        anomalies_artifact = artifact_utils.get_single_instance(input_dict["anomalies"])
        schema_file = io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict["schema"]))
        schema = with_max_class_shift(
            io_utils.SchemaReader().read(schema_file), exec_properties["max_class_shift"]
        )
        splits = {
            split: stats_artifact_utils.load_statistics(artifact, split).proto()
            for split in artifact_utils.decode_split_names(artifact.split_names)
        }
        problems = []
        for split, statistics in splits.items():
            folder = artifact_utils.get_split_uri([anomalies_artifact], split)
            with fileio.open(f"{folder}/{example_validator.DEFAULT_FILE_NAME}", "rb") as file:
                anomalies = anomalies_pb2.Anomalies.FromString(file.read())
            problems += anomaly_messages.describe_anomalies(split, anomalies, schema, statistics)

        baseline = drift = None
        if input_dict.get("baseline_statistics"):
            baseline_artifact = artifact_utils.get_single_instance(input_dict["baseline_statistics"])
            baseline = stats_artifact_utils.load_statistics(baseline_artifact, DRIFT_SPLIT).proto()
            drift = find_drift(splits[DRIFT_SPLIT], baseline, schema)
            problems += anomaly_messages.describe_anomalies(DRIFT_SPLIT, drift, schema, splits[DRIFT_SPLIT])
        if problems:
            raise DataRejected(anomaly_messages.format_message(problems))

        verdict = data_verdict(splits, baseline, drift)
        logging.info(verdict["summary"])
        output = artifact_utils.get_single_instance(output_dict["verdict"])
        with fileio.open(f"{output.uri}/verdict.json", "w") as file:
            file.write(json.dumps(verdict, indent=2) + "\n")
        output.set_int_custom_property("blessed", 1)
        output.set_int_custom_property(STATISTICS_ID, artifact.id)
        output.set_string_custom_property(SOURCE, exec_properties["source"])


class DataGate(base_component.BaseComponent):
    """Stops the run if the data is not fit for training.

    Outputs `verdict`: a DataVerdict with `verdict.json`. Its custom properties `blessed` and `statistics_id`
    mark the statistics as a baseline for later runs.

    Args:
        statistics: Channel of the ExampleStatistics of this run.
        schema: Channel of the Schema that the statistics were validated against.
        anomalies: Channel of ExampleValidator's ExampleAnomalies.
        source: Name of the data source; only data of the same source is compared.
        max_class_shift: Largest accepted change of a class's share of `train` since the last accepted data,
            0 to 1.
        baseline_statistics: Channel of the last accepted ExampleStatistics; can be empty.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        anomalies: types.BaseChannel,
        source: str,
        max_class_shift: float,
        baseline_statistics: types.BaseChannel | None = None,
    ) -> None:
        super().__init__(
            DataGateSpec(
                statistics=statistics,
                schema=schema,
                anomalies=anomalies,
                baseline_statistics=baseline_statistics,
                source=source,
                max_class_shift=float(max_class_shift),
                code_fingerprint=fingerprint.of_code(
                    *("components.data_gate", "components.statistics"),
                    *("components.curated_schema.component", "trainer.features"),
                ),
                verdict=types.Channel(type=DataVerdict),
            )
        )
