"""One prediction, from whichever side it came: REST or gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from serving.local import pictures
from serving.local.batching import Batcher
from serving.local.limits import Limits
from serving.local.metrics import Metrics
from serving.local.servable import DEFAULT_SIGNATURE, Servable


class Predictor:
    """Runs versions, each request together with others. To be used from one event loop only.

    Args:
        limits: How large pictures, batches and queues may become.
        metrics: Counts what runs.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._max_pixels = limits.max_pixels
        self._batcher = Batcher(
            self._run_batch, metrics, max_batch=limits.max_batch, max_queue=limits.max_queue
        )

    async def run(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Answers one request.

        Args:
            servable: The version to run.
            signature_name: Empty means `serving_default`.
            inputs: By the signature's names for them; strings as arrays of type object that hold bytes.
            output_filter: The outputs wanted; none means all.
            timeout: In seconds; None means no end.

        Returns:
            The outputs by the signature's names for them.

        Raises:
            StatusError: With TensorFlow Serving's code and text.
        """
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
