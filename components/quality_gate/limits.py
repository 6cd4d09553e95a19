"""The limits that a model must keep to be blessed, and how the tolerable error rate is spent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainer.training_config import ConfigSection, Count, Fraction, Positive

# Shares of the false-block rate. What is left is for luck that gathers: of many models that were judged on
# the same test pictures the lucky ones stay, and the next is compared with them (figures in docs/gate.md).
_COMPARISONS, _SLICES, _CHANGES = 0.65, 0.1, 0.1

# A new best one must be better beyond this share of the false-block rate: of many equal models one always
# looks better, and would be the measure of all later ones.
_CHAMPION = 0.1

Rate = Annotated[float, Field(gt=0, le=0.5)]


class GateLimits(ConfigSection):
    """When a model is blessed, judged on `test`; docs/gate.md tells how.

    Attributes:
        min_accuracy: The floor over all pictures: the measured accuracy must reach it.
        min_slice_accuracy: The floor in every slice; a slice fails where chance does not explain the gap.
        min_slice_images: Slices of fewer pictures are too small to judge.
        max_accuracy_loss: The loss of accuracy that is tolerable against each approved model; 0.005 is half
            a point.
        false_block_rate: How often a model that is as good as the approved ones may be refused, all
            comparisons together.
        missed_loss_rate: How often a loss may be missed, when it is said how small a loss these pictures
            would show.
        max_calibration_error: Largest tolerable calibration error; None means any.
        max_model_mb: Largest size of the model's files, in megabytes; None means any.
        min_prediction_consistency: Share of the images that must keep their label when they are flipped,
            darkened, compressed again or resized; it fails where chance does not explain the gap.
        perturbed_images: How many pictures of `test` are changed so.
        missing_baseline: Whether an approved model that cannot be read stands in the way of a blessing
            (`refuse`), or is done without (`ignore`).
    """

    min_accuracy: Fraction = 0.9
    min_slice_accuracy: Fraction = 0.8
    min_slice_images: Count = 30
    max_accuracy_loss: Fraction = 0.0
    false_block_rate: Rate = 0.05
    missed_loss_rate: Rate = 0.1
    max_calibration_error: Fraction | None = 0.1
    max_model_mb: Positive | None = None
    min_prediction_consistency: Fraction = 0.97
    perturbed_images: Count = 200
    missing_baseline: Literal["refuse", "ignore"] = "refuse"

    @property
    def comparisons_level(self) -> float:
        """How often an equal model may be refused by the comparisons with baselines, all together."""
        return _COMPARISONS * self.false_block_rate

    @property
    def slices_level(self) -> float:
        """How often a model just at the floor may be refused for a slice, all slices together."""
        return _SLICES * self.false_block_rate

    @property
    def changes_level(self) -> float:
        """How often a model just at the floor may be refused for the changed pictures, all together."""
        return _CHANGES * self.false_block_rate

    @property
    def champion_level(self) -> float:
        """How often an equal model may take the place of the best one."""
        return _CHAMPION * self.false_block_rate
