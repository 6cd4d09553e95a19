"""One prediction, from whichever side it came: REST and gRPC both ask here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.local import pictures
from serving.local.batching import Batcher
from serving.local.limits import Limits
from serving.local.metrics import Metrics
from serving.local.models import Models
from serving.local.servable import DEFAULT_SIGNATURE, Servable


@dataclass(frozen=True)
class Answer:
    """What a model says.

    Attributes:
        outputs: By the signature's names for them.
        servable: The version that answered.
    """

    outputs: dict[str, np.ndarray]
    servable: Servable


class Predictor:
    """Finds the version that is asked for, and runs it together with other requests. One event loop only.

    Args:
        models: What is served.
        limits: How large pictures, batches and queues may become.
        metrics: Counts what runs.
    """

    def __init__(self, models: Models, limits: Limits, metrics: Metrics) -> None:
        self._models = models
        self._max_pixels = limits.max_pixels
        self._batcher = Batcher(
            self._run_batch, metrics, max_batch=limits.max_batch, max_queue=limits.max_queue
        )

    async def predict(
        self,
        name: str,
        version: int | None,
        label: str | None,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Answer:
        """Answers one request.

        Args:
            name: The model's name.
            version: A version's number, or None.
            label: A version's label, or None; where both are None, the newest version answers.
            signature_name: Empty means `serving_default`.
            inputs: By the signature's names for them; strings as arrays of type object that hold bytes.
            output_filter: The outputs wanted; none means all.
            timeout: In seconds; None means no end.

        Raises:
            StatusError: With TensorFlow Serving's code and text.
        """
        servable = self._models.find(name, version, label)
        return Answer(await self.run(servable, signature_name, inputs, output_filter, timeout), servable)

    async def run(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Answers one request with a version that is found already; otherwise as `predict`."""
        return await self._batcher.run(
            servable, signature_name or DEFAULT_SIGNATURE, inputs, output_filter, timeout
        )

    def close(self) -> None:
        """Waits for the batches that run."""
        self._batcher.close()

    def _run_batch(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """Looks at the pictures in the batch's thread, as reading many headers takes its time."""
        pictures.check(inputs, self._max_pixels)
        return servable.run(signature_name, inputs, output_filter)
