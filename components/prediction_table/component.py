"""The PredictionTable component, which predicts every test image with the candidate and the baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_driver, executor_spec
from tfx.orchestration import metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import component_spec, standard_artifacts

from components import fingerprint
from components.prediction_table import columns
from components.prediction_table.executor import Executor


class PredictionTableSpec(component_spec.ComponentSpec):
    """Parameters and channels of `PredictionTable`."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "class_names": component_spec.ExecutionParameter(type=str),
        "perturbed_images": component_spec.ExecutionParameter(type=int),
        "code_fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "newest": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        "best": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "predictions": component_spec.ChannelParameter(type=standard_artifacts.Examples)
    }


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Makes the cache key depend on the files of the baselines.

    Adds `baseline_files` to the execution properties: the current fingerprints of the baselines' files.
    Without it, a cached table that marks a baseline as unreadable would be reused after its files are
    restored.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)  # the class that TFX requires of a component
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)  # the class that TFX runs

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the fingerprints; a missing folder counts as an empty one."""
        fingerprints = {
            name: [
                fingerprint.of_folder(Path(model.uri)) for model in execution_info.input_dict.get(name, [])
            ]
            for name in columns.BASELINE_COLUMNS
        }
        output = driver_output_pb2.DriverOutput()
        output.exec_properties["baseline_files"].string_value = json.dumps(fingerprints)
        return output


class PredictionTable(base_beam_component.BaseBeamComponent):
    """Predicts every image of `test` with the candidate and the baselines, without a server.

    Outputs `predictions`: Examples with the split `test`, one row for each image but no pixels, and
    `about.json` (see `components.prediction_table.table`). All metrics derive from this table.

    Args:
        examples: Channel of the Examples; `test` is predicted; the other splits are searched for the same
            images.
        model: Channel of the candidate.
        newest: Channel of the last blessed model; may be empty.
        best: Channel of the best blessed model; may be empty or the same as `newest`.
        class_names: The two classes; the model output is named after the second one.
        perturbed_images: Number of images that the candidate also predicts under perturbations: those with
            the smallest digests, so the sample is the same in every run.
    """

    SPEC_CLASS = PredictionTableSpec
    DRIVER_CLASS = Driver
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        *,
        newest: types.BaseChannel | None = None,
        best: types.BaseChannel | None = None,
        class_names: Sequence[str],
        perturbed_images: int,
    ) -> None:
        super().__init__(
            PredictionTableSpec(
                examples=examples,
                model=model,
                newest=newest,
                best=best,
                class_names=json.dumps(class_names),
                perturbed_images=perturbed_images,
                code_fingerprint=fingerprint.of_code(
                    "components.prediction_table", "trainer.features", "trainer.signatures"
                ),
                predictions=types.Channel(type=standard_artifacts.Examples),
            )
        )
