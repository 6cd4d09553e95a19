"""The Transform component for images."""

from __future__ import annotations

from tfx.components import Transform
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from components.image_transform.executor import Executor


class ImageTransform(Transform):
    """TFX's Transform with this package's executor; arguments and outputs are unchanged."""

    EXECUTOR_SPEC = BeamExecutorSpec(Executor)
