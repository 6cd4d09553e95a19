"""The settings of the check on a server before a push."""

from __future__ import annotations

from trainer.training_config import ConfigSection, Count, Positive


class ServingCheckConfig(ConfigSection):
    """What a server must show of a model before it is pushed.

    Attributes:
        images: How many images of `test` are sent, over REST and over gRPC.
        max_difference: How far a probability may lie from the one that the Evaluator works with.
        max_latency_ms: What 95 of 100 single pictures must be answered within, in milliseconds.
    """

    images: Count = 32
    max_difference: Positive = 1e-5
    max_latency_ms: Positive = 2000
