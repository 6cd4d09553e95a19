"""The settings of the verdict: what a model must show on `test` to be blessed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.data_settings import Fraction
from pipelines.serving_settings import Positive
from trainer.recipe import Count, Section

Rate = Annotated[float, Field(gt=0, le=0.5)]


class EvaluationSettings(Section):
    """When a model is blessed, judged on `test`; docs/gate.md tells how.

    Attributes:
        min_accuracy: The floor over all pictures: the measured accuracy must reach it.
        min_slice_accuracy: The floor in every slice; a slice fails where chance does not explain the gap.
        min_slice_pictures: Slices of fewer pictures are too small to judge.
        max_accuracy_loss: The loss of accuracy that is tolerable against each approved model; 0.005 is half
            a point.
        false_block_rate: How often a model that is as good as the approved ones may be refused, all
            comparisons together.
        missed_loss_rate: How often a loss may be missed, when it is said how small a loss these pictures
            would show.
        max_calibration_error: Largest tolerable calibration error; None means any.
        max_model_mb: Largest size of the model's files, in megabytes; None means any.
        min_kept_labels: Share of the pictures that must keep their label when they are flipped, darkened,
            compressed again or resized; it fails where chance does not explain the gap.
        behaviour_pictures: How many pictures of `test` are changed so.
        missing_baseline: Whether an approved model that cannot be read stands in the way of a blessing
            (`refuse`), or is done without (`ignore`).
    """

    min_accuracy: Fraction = 0.9
    min_slice_accuracy: Fraction = 0.8
    min_slice_pictures: Count = 30
    max_accuracy_loss: Fraction = 0.0
    false_block_rate: Rate = 0.05
    missed_loss_rate: Rate = 0.1
    max_calibration_error: Fraction | None = 0.1
    max_model_mb: Positive | None = None
    min_kept_labels: Fraction = 0.97
    behaviour_pictures: Count = 200
    missing_baseline: Literal["refuse", "ignore"] = "refuse"
