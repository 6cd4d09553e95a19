"""What is asked of a model, and how the tolerable error rate is spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

# Shares of the false-block rate. What is left is for luck that gathers: of many models that were judged on
# the same test pictures the lucky ones stay, and the next is compared with them (figures in docs/gate.md).
_COMPARISONS, _SLICES, _CHANGES = 0.65, 0.1, 0.1

# A new best one must be better beyond this share of the false-block rate: of many equal models one always
# looks better, and would be the measure of all later ones.
_CHAMPION = 0.1


@dataclass(frozen=True)
class Limits:
    """The settings of the section `evaluation` that the verdict keeps to; they are described there."""

    min_accuracy: float = 0.9
    min_slice_accuracy: float = 0.8
    min_slice_pictures: int = 30
    max_accuracy_loss: float = 0.0
    false_block_rate: float = 0.05
    missed_loss_rate: float = 0.1
    max_calibration_error: float | None = 0.1
    max_model_mb: float | None = None
    min_kept_labels: float = 0.97
    missing_baseline: str = "refuse"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Limits:
        """Returns those of the settings that concern the verdict."""
        return cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})

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
