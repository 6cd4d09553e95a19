"""The component that brings pictures into the pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel_utils, component_spec, standard_artifacts

from components import fingerprint
from components.artifacts import RejectedImages
from components.image_example_gen.driver import Driver
from components.image_example_gen.executor import Executor


class ImageExampleGenSpec(component_spec.ComponentSpec):
    """Parameters and outputs of `ImageExampleGen`; what is structured travels as JSON."""

    PARAMETERS = {  # noqa: RUF012
        "source": component_spec.ExecutionParameter(type=str),
        "class_names": component_spec.ExecutionParameter(type=str),
        "split": component_spec.ExecutionParameter(type=str),
        "max_bad_fraction": component_spec.ExecutionParameter(type=float),
        "max_pixels": component_spec.ExecutionParameter(type=int),
        "code_fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}  # noqa: RUF012
    OUTPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "rejected": component_spec.ChannelParameter(type=RejectedImages),
    }


class ImageExampleGen(base_beam_component.BaseBeamComponent):
    """Reads labelled pictures and writes them as examples in the splits train, eval and test.

    Outputs are `examples` (standard Examples) and `rejected` (what was set aside, with reasons).

    Args:
        source: Where the pictures are, as `sources.open_source` takes it.
        class_names: The two classes; the index is the label.
        split: The shares `train`, `eval` and `test`, and a `seed`.
        max_bad_fraction: Share of unusable pictures above which the run stops.
        max_pixels: Pictures with more pixels are set aside.
    """

    SPEC_CLASS = ImageExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        source: Mapping[str, Any],
        class_names: Sequence[str],
        split: Mapping[str, Any],
        max_bad_fraction: float = 0.01,
        max_pixels: int = 50_000_000,
    ) -> None:
        super().__init__(
            ImageExampleGenSpec(
                source=json.dumps(source, sort_keys=True),
                class_names=json.dumps(list(class_names)),
                split=json.dumps(split, sort_keys=True),
                max_bad_fraction=float(max_bad_fraction),
                max_pixels=max_pixels,
                code_fingerprint=fingerprint.of_code(
                    "components.image_example_gen", "components.errors", "trainer.features"
                ),
                examples=channel_utils.as_channel([standard_artifacts.Examples()]),
                rejected=channel_utils.as_channel([RejectedImages()]),
            )
        )
