"""A Pusher component for the model repository, a folder or a bucket."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_component
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import component_spec, standard_artifacts, system_executions
from tfx.types.standard_component_specs import (
    INFRA_BLESSING_KEY,
    MODEL_BLESSING_KEY,
    MODEL_KEY,
    PUSHED_MODEL_KEY,
)

from components import fingerprint
from components.model_pusher.executor import Driver, Executor
from serving.repository.storage import PushConfig


class ModelPusherSpec(component_spec.ComponentSpec):
    """Parameters and channels of `ModelPusher`, named as in TFX's Pusher where it has them."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "destination": component_spec.ExecutionParameter(type=str),
        "base_path": component_spec.ExecutionParameter(type=str),
        "keep_versions": component_spec.ExecutionParameter(type=int),
        "model_name": component_spec.ExecutionParameter(type=str),
        "code_fingerprints": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        MODEL_KEY: component_spec.ChannelParameter(type=standard_artifacts.Model),
        MODEL_BLESSING_KEY: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        INFRA_BLESSING_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.InfraBlessing, optional=True
        ),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation, optional=True),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        PUSHED_MODEL_KEY: component_spec.ChannelParameter(type=standard_artifacts.PushedModel)
    }
    TYPE_ANNOTATION = system_executions.Deploy


class ModelPusher(base_component.BaseComponent):
    """Pushes a blessed model to the model repository as the newest version.

    Outputs `pushed_model`: a PushedModel with the properties `pushed`, `pushed_destination` and
    `pushed_version` of TFX's Pusher. A model that was rolled back is not pushed again. In that case
    `withdrawn_version` is its version number, and `reason` names the command that restores it.

    Args:
        model: Channel of the Model to push.
        blessing: Channel of its ModelBlessing; an unblessed model is not pushed.
        destination: Folder or `gs://` address of the model repository.
        push_config: Name and base path of the served model, and how many versions stay.
        serving_check: Channel of its InfraBlessing; an unblessed model is not pushed. The artifact's warm-up
            requests become part of the version.
        evaluation: Channel of its ModelEvaluation, whose metrics go into the manifest.
        examples: Channel of the Examples, whose fingerprint goes into the manifest.
    """

    SPEC_CLASS = ModelPusherSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        model: types.BaseChannel,
        blessing: types.BaseChannel,
        *,
        destination: str,
        push_config: PushConfig,
        serving_check: types.BaseChannel | None = None,
        evaluation: types.BaseChannel | None = None,
        examples: types.BaseChannel | None = None,
    ) -> None:
        super().__init__(
            ModelPusherSpec(
                model=model,
                model_blessing=blessing,
                infra_blessing=serving_check,
                evaluation=evaluation,
                examples=examples,
                destination=destination,
                base_path=push_config.base_path,
                keep_versions=push_config.keep_versions,
                model_name=push_config.model_name,
                # Valid for the model: with other code, the Trainer would have trained another one.
                code_fingerprints=json.dumps({"trainer": fingerprint.of_code("trainer")}),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
