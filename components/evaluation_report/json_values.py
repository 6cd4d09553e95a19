"""What the figures of the report look like as JSON, which knows neither NaN nor numpy's numbers."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from components.model_metrics import Estimate

Facts: TypeAlias = dict[str, Any]


def number(value: float) -> float | None:
    """Returns a number; None where it is none that JSON could hold."""
    value = float(value)
    return value if math.isfinite(value) else None


def figure(measured: Estimate) -> Facts | None:
    """Returns value, low and high; None where there was nothing to measure."""
    if not measured.exists:
        return None
    return {"value": number(measured.value), "low": number(measured.low), "high": number(measured.high)}


def without_nan(value: Any) -> Any:
    """Returns what was read elsewhere with None in the place of every number that JSON could not hold."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict):
        return {str(key): without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_nan(one) for one in value]
    return value
