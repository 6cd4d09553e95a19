"""The settings of what comes after the evaluation: the check on a server, the push, what stays served."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainer.recipe import Count, Section

Positive = Annotated[float, Field(gt=0)]


class ServingCheckSettings(Section):
    """What a server must show of a model before it is pushed.

    Attributes:
        pictures: How many pictures of `test` are sent, over REST and over gRPC.
        max_difference: How far a probability may lie from the one that the Evaluator works with.
        max_latency_ms: What 95 of 100 single pictures must be answered within, in milliseconds.
    """

    pictures: Count = 32
    max_difference: Positive = 1e-5
    max_latency_ms: Positive = 2000


class ServingSettings(Section):
    """Where blessed models go, and how many stay.

    Attributes:
        destination: Folder or gs:// address that gets a sub-folder a version; None means
            `<output_root>/serving_model/<pipeline_name>`.
        base_path: What TensorFlow Serving calls that place; None means the gs:// address, or
            `/models/<pipeline_name>`, where containers mount a folder.
        keep_versions: How many of the newest versions stay.
        check: What a server must show of a model before it is pushed.
    """

    destination: str | None = None
    base_path: str | None = None
    keep_versions: Count = 5
    check: ServingCheckSettings = ServingCheckSettings()
