"""Formats names and numbers for the page and the model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from markupsafe import Markup

from components.evaluation_report.json_values import JsonObject
from components.prediction_table.columns import PERTURBATIONS
from trainer import features

NOTHING = Markup("–")
NAME_LENGTH = 100  # longest file or folder name shown, in characters

MODELS = {"candidate": "This model", "newest": "Last blessed", "best": "Best model so far"}
SLICES = {
    features.CLASS_NAME: "Class",
    features.SOURCE_FOLDER: "Source folder",
    features.RESOLUTION_RANGE: "Resolution",
    features.ASPECT_RANGE: "Aspect ratio",
    features.BRIGHTNESS_RANGE: "Brightness",
    features.BYTE_SIZE_RANGE: "File size",
}
RULE_STATES = {"passed": "Passed", "failed": "Failed", "not judged": "Not evaluated", "noted": "Note"}
INPUTS = {
    "model": "Model",
    "model_run": "Training run",
    "predictions": "Prediction table",
    "evaluation": "TFMA evaluation",
    "blessing": "Blessing",
    "serving_check": "Serving check",
    "examples": "Examples",
    "rejected": "Rejected images",
    "statistics": "Data statistics",
    "data_verdict": "Data validation result",
}
_METRICS = {
    "accuracy": "Accuracy",
    "auc": "ROC AUC",
    "loss": "Log loss",
    "calibration_error": "Calibration error",
}
_HINTS = {
    "accuracy": "share of images classified correctly",
    "auc": "class separation over all thresholds; higher is better",
    "loss": "cross-entropy in nats; lower is better",
    "calibration_error": "mean gap between predicted and observed probability; lower is better",
}
_PERTURBATIONS = dict(
    zip(PERTURBATIONS, ("Horizontal flip", "Slightly darker", "JPEG recompression", "Resize"), strict=True)
)
_PLAIN_NUMBERS = {"auc", "loss"}  # all other metrics are shares


def metric_name(name: str) -> str:
    """Returns the display name of a metric: `precision/cat` becomes "Precision, cat"."""
    kind, _, class_name = name.partition("/")
    if not class_name:
        return _METRICS.get(name, name)
    return f"{'F1' if kind == 'f1' else kind.capitalize()}, {class_name}"


def metric_hint(name: str) -> str:
    """Returns a short explanation of a metric; empty if it needs none."""
    return _HINTS.get(name, "")


def perturbation_name(name: str) -> str:
    """Returns the display name of a perturbation."""
    return _PERTURBATIONS.get(name, name)


def metric(estimate: JsonObject | None, name: str = "") -> Markup:
    """Returns the value of a metric, in % if it is a share."""
    return NOTHING if estimate is None else value(estimate["value"], name)


def interval(estimate: JsonObject | None, name: str = "") -> Markup:
    """Returns the 95 % confidence interval of a metric, like "97.1 to 98.8 %"."""
    if estimate is None or estimate["low"] is None or estimate["high"] is None:
        return NOTHING
    low, high = (value(estimate[end], name) for end in ("low", "high"))
    return Markup("{} to {}").format(low.removesuffix("\u202f%"), high)


def value(number: float | None, name: str = "") -> Markup:
    """Returns a value of the named metric."""
    if number is None:
        return NOTHING
    return Markup(f"{number:.4f}") if name in _PLAIN_NUMBERS else percent(number)


def percent(share: float | None, digits: int = 1) -> Markup:
    """Returns a share as "98.3 %"."""
    return NOTHING if share is None else Markup(f"{100 * share:.{digits}f}\u202f%")


def points(difference: float | None) -> Markup:
    """Returns a signed difference of two shares in percentage points."""
    if difference is None:
        return NOTHING
    return Markup(f"{100 * difference:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0"))


def count(items: float | None) -> Markup:
    """Returns a count, like "1,000"."""
    return NOTHING if items is None else Markup(f"{round(items):,}")


def number(item: Any) -> Markup:
    """Returns a number with at most four significant digits, or a dash if it is not a number."""
    if isinstance(item, bool) or not isinstance(item, int | float):
        return NOTHING
    return Markup(f"{round(item):,}" if item == round(item) else f"{item:.4g}")


def p_value(probability: float | None) -> Markup:
    """Returns a p-value, like "p = 0.03"."""
    if probability is None:
        return NOTHING
    if probability < 0.001 or probability > 0.999:
        return Markup("p &lt; 0.001" if probability < 0.001 else "p &gt; 0.999")
    return Markup(f"p = {probability:.2g}")


def moment(time: str | None) -> Markup | str:
    """Returns an ISO time as "22 November 2026, 15:10 UTC"; other text is returned unchanged."""
    try:
        parsed = datetime.fromisoformat(time or "")
    except ValueError:
        return time or NOTHING
    zone = "UTC" if parsed.utcoffset() is not None and not parsed.utcoffset() else parsed.strftime("%z")
    return Markup(f"{parsed.day} {parsed:%B %Y, %H:%M} {zone}".rstrip())


def sentence(text: str) -> str:
    """Returns the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def shorten(text: str, max_length: int = NAME_LENGTH) -> str:
    """Returns the text with its middle replaced by "…" if it is longer than `max_length`."""
    if len(text) <= max_length:
        return text
    remaining = max_length - 1
    return f"{text[: remaining - remaining // 2]}…{text[-(remaining // 2) :]}"


def shares(classes: Mapping[str, int]) -> dict[str, float]:
    """Returns the share of each class."""
    total = sum(classes.values()) or 1
    return {name: images / total for name, images in classes.items()}


FILTERS: dict[str, Callable[..., Any]] = {
    "metric_name": metric_name,
    "metric_hint": metric_hint,
    "perturbation_name": perturbation_name,
    "metric": metric,
    "interval": interval,
    "value": value,
    "percent": percent,
    "points": points,
    "count": count,
    "number": number,
    "p_value": p_value,
    "moment": moment,
    "sentence": sentence,
    "shorten": shorten,
    "shares": shares,
}
