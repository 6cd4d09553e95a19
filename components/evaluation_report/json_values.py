"""Converts metrics to values that JSON can represent: no NaN, no infinity, no NumPy scalars."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from components.model_metrics import Estimate

JsonObject: TypeAlias = dict[str, Any]


def number(value: float) -> float | None:
    """Returns the value as a float, or None if it is NaN or infinite."""
    value = float(value)
    return value if math.isfinite(value) else None


def estimate(metric: Estimate) -> JsonObject | None:
    """Returns `value`, `low` and `high` of an estimate, or None if it does not exist."""
    if not metric.exists:
        return None
    return {"value": number(metric.value), "low": number(metric.low), "high": number(metric.high)}


def replace_nan(value: Any) -> Any:
    """Returns a copy of parsed JSON in which NaN and infinite numbers are None."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict):
        return {str(key): replace_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_nan(item) for item in value]
    return value
