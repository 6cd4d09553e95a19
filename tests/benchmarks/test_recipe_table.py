from __future__ import annotations

import numpy as np
import pytest

from benchmarks import recipe_table


def test_the_loss_is_that_of_the_truth_and_finite() -> None:
    losses = recipe_table.log_losses(np.array([1, 0, 0]), np.array([0.5, 0.75, 1.0]))

    assert losses.tolist() == pytest.approx([np.log(2), np.log(4), -np.log(1e-7)])


def test_a_row_compares_with_the_default_picture_by_picture() -> None:
    labels = np.array([0.0, 1, 1, 0])
    kept = {"frozen": 1, "fine-tuning": 4}
    default = recipe_table.Outcome(np.array([0.5, 0.5, 0.5, 0.5]), 3.0, 10.0, kept)
    better = recipe_table.Outcome(np.array([0.25, 0.75, 0.75, 0.25]), float("nan"), 12.0, kept)

    found = recipe_table.row("dropout=0", better, default, labels)

    assert found.startswith("| dropout=0 | 100.00% (51.0–100.0) | 0.2877 | -0.4055 ± 0.0000 |")
    assert found.endswith("|  | 12 | 4 |")
