"""The Transform component for images."""

from __future__ import annotations

from tfx.components import Transform
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from components.image_transform.executor import Executor


class ImageTransform(Transform):
    """Stock Transform with our executor; arguments and outputs are the stock component's."""

    EXECUTOR_SPEC = BeamExecutorSpec(Executor)
