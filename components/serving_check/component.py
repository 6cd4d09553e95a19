"""The ServingCheck component, which tests a model on a server before it is pushed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components import fingerprint
from components.serving_check.config import ServingCheckConfig
from components.serving_check.executor import Executor

_CODE = (
    *("components.serving_check", "serving.client", "serving.local", "serving.warmup", "serving.errors"),
    *("trainer.features", "trainer.signatures"),
)


class ServingCheckSpec(component_spec.ComponentSpec):
    """Parameters and channels of `ServingCheck`."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "model_name": component_spec.ExecutionParameter(type=str),
        "class_names": component_spec.ExecutionParameter(type=str),
        "config": component_spec.ExecutionParameter(type=str),
        "code_fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)
    }


class ServingCheck(base_component.BaseComponent):
    """Serves the model and compares the responses with the predictions that the Evaluator measures.

    The server is `tensorflow_model_server` if it is on the PATH, otherwise the project's local server. It
    runs on this machine and receives images of `test` over REST and gRPC, one per request.

    Outputs `blessing`: an InfraBlessing, with TFX's own property (`blessed`) and file (`INFRA_BLESSED` or
    `INFRA_NOT_BLESSED`); its folder also holds `report.json` and `tf_serving_warmup_requests`.

    Args:
        model: Channel of the Model to check.
        examples: Channel of the Examples, with the split `test`.
        model_name: Name under which the server serves the model.
        class_names: The two classes; the model output is named after the second one.
        config: The number of images, and the limits for the responses.
    """

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        model_name: str,
        class_names: Sequence[str],
        config: ServingCheckConfig,
    ) -> None:
        super().__init__(
            ServingCheckSpec(
                model=model,
                examples=examples,
                model_name=model_name,
                class_names=json.dumps(class_names),
                config=config.model_dump_json(),
                code_fingerprint=fingerprint.of_code(*_CODE),
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
