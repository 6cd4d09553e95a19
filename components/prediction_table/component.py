"""The PredictionTable component: what the models say of every picture of `test`, asked once each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_component, base_driver, executor_spec
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
    """Looks at the earlier models before the cache does, so that one that is back is compared with again.

    Adds `baseline_files` to the execution properties: fingerprints of the earlier models as they are now.

    Without it, a table that notes a model as unreadable would be found in the cache when it is put back.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)  # the class TFX asks components for
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)  # the class it runs

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the addition; of a model that is gone, the fingerprint is that of no files."""
        found = {
            name: [
                fingerprint.of_folder(Path(model.uri)) for model in execution_info.input_dict.get(name, [])
            ]
            for name in columns.BASELINES
        }
        output = driver_output_pb2.DriverOutput()
        output.exec_properties["baseline_files"].string_value = json.dumps(found)
        return output


class PredictionTable(base_component.BaseComponent):
    """Asks the candidate and earlier models about every picture of `test`, as stored and without a server.

    Outputs `predictions`: Examples with the split `test`, a row for each picture, without the pictures, and
    `about.json` (see `components.prediction_table.table`). All that is said of the candidate derives from it.

    Args:
        examples: Channel of the Examples; `test` is asked about, and searched for pictures that are also in
            the other splits.
        model: Channel of the candidate.
        newest: Channel of the model that was blessed last; may be empty.
        best: Channel of the best model that was ever blessed; may be empty, and may be the newest.
        class_names: The two classes; the models' output is named after the second one.
        perturbed_images: For how many pictures the candidate is also asked about changes that must not
            matter: those with the smallest digests, which are the same ones every time.
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
