"""The Pusher component for a folder that TensorFlow Serving watches."""

from __future__ import annotations

from pathlib import Path

from tfx import types
from tfx import v1 as tfx
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec

from components.model_pusher.driver import Driver
from components.model_pusher.executor import Executor


class ModelPusher(tfx.components.Pusher):
    """Stock Pusher with our executor and driver.

    Args:
        model: Channel of the Model to push.
        blessing: Channel of its ModelBlessing; an unblessed model is not pushed.
        serving_model_dir: Folder that gets a sub-folder per version.
    """

    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self, model: types.BaseChannel, blessing: types.BaseChannel, serving_model_dir: Path
    ) -> None:
        super().__init__(
            model=model,
            model_blessing=blessing,
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(serving_model_dir))
            ),
        )
