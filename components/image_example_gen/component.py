"""The component that ingests images."""

from __future__ import annotations

import json

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel_utils, component_spec, standard_artifacts

from components import fingerprint
from components.artifacts import RejectedImages
from components.image_example_gen.config import DataConfig
from components.image_example_gen.driver import Driver
from components.image_example_gen.executor import Executor


class ImageExampleGenSpec(component_spec.ComponentSpec):
    """Parameters and outputs of `ImageExampleGen`; structured values are JSON."""

    PARAMETERS = {  # noqa: RUF012
        "source": component_spec.ExecutionParameter(type=str),
        "class_names": component_spec.ExecutionParameter(type=str),
        "split": component_spec.ExecutionParameter(type=str),
        "max_rejected_fraction": component_spec.ExecutionParameter(type=float),
        "max_pixels": component_spec.ExecutionParameter(type=int),
        "code_fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}  # noqa: RUF012
    OUTPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "rejected": component_spec.ChannelParameter(type=RejectedImages),
    }


class ImageExampleGen(base_beam_component.BaseBeamComponent):
    """Reads labelled images and writes them as examples in the splits train, eval and test.

    Outputs are `examples` (standard Examples) and `rejected` (the rejected images, with reasons).

    Args:
        data: The source, classes and splits of the images, and the limits above which they are rejected.
    """

    SPEC_CLASS = ImageExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(self, data: DataConfig) -> None:
        super().__init__(
            ImageExampleGenSpec(
                source=json.dumps(data.source_spec, sort_keys=True),
                class_names=json.dumps(data.class_names),
                split=data.split.model_dump_json(),
                max_rejected_fraction=data.max_rejected_fraction,
                max_pixels=data.max_pixels,
                code_fingerprint=fingerprint.of_code(
                    "components.image_example_gen",
                    "components.progress",
                    "components.errors",
                    "serving.image_limits",
                    "trainer.features",
                ),
                examples=channel_utils.as_channel([standard_artifacts.Examples()]),
                rejected=channel_utils.as_channel([RejectedImages()]),
            )
        )
