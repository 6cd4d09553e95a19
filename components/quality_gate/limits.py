"""Limits that a model must meet to be blessed, and how the error rate is divided among the rules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainer.training_config import ConfigSection, Count, Fraction, Positive

# Shares of the false-block rate. The rest is a reserve for selection bias: models judged on the same test
# images become baselines partly by luck, and the next model is compared with them (see docs/gate.md).
_COMPARISONS, _SLICES, _PERTURBATIONS = 0.65, 0.1, 0.1

# Significance level for a new best model, as a share of the false-block rate. It is strict because among many
# equal models one always looks better, and all later models would be compared with it.
_BEST_MODEL = 0.1

Rate = Annotated[float, Field(gt=0, le=0.5)]


class GateLimits(ConfigSection):
    """The settings section `evaluation`: when a model is blessed (see docs/gate.md).

    Attributes:
        min_accuracy: Minimum accuracy measured on all test images.
        min_slice_accuracy: Minimum accuracy in every slice; a slice fails if it is significantly below.
        min_slice_images: Minimum number of images in a slice; smaller slices are not judged.
        max_accuracy_loss: Tolerated loss of accuracy against each baseline; 0.005 is half a point.
        false_block_rate: Probability of refusing a model that is as good as the baselines, all rules
            together.
        missed_loss_rate: Probability of missing a loss as large as the reported smallest detectable loss.
        max_calibration_error: Maximum expected calibration error; None means no limit.
        max_model_mb: Maximum size of the model's files, in megabytes; None means no limit.
        min_prediction_consistency: Minimum share of images that keep their label when they are flipped,
            darkened, recompressed or resized; the rule fails if it is significantly below.
        perturbed_images: Number of test images that are perturbed.
        missing_baseline: What happens if a baseline cannot be read: `refuse` the model, or `ignore` the
            baseline.
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
        """Family-wise level of the comparisons with the baselines."""
        return _COMPARISONS * self.false_block_rate

    @property
    def slices_level(self) -> float:
        """Family-wise level of the slice rules, for a model exactly at the floor."""
        return _SLICES * self.false_block_rate

    @property
    def perturbations_level(self) -> float:
        """Family-wise level of the perturbation rules, for a model exactly at the floor."""
        return _PERTURBATIONS * self.false_block_rate

    @property
    def best_model_level(self) -> float:
        """Probability that an equal model replaces the best model."""
        return _BEST_MODEL * self.false_block_rate
