"""The settings section `serving.check`."""

from __future__ import annotations

from trainer.training_config import ConfigSection, Count, Positive


class ServingCheckConfig(ConfigSection):
    """Number of test requests and limits for their responses.

    Attributes:
        images: Number of images of `test` that are sent over REST and over gRPC.
        max_difference: Maximum difference from the probability that the Evaluator measures.
        max_latency_ms: Maximum 95th percentile of the latency of one request, in milliseconds.
    """

    images: Count = 32
    max_difference: Positive = 1e-5
    max_latency_ms: Positive = 2000
