"""Names and numbers as a person reads them, on the page and in the model card alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from markupsafe import Markup

from components.evaluation_report.json_values import Facts
from components.prediction_table.columns import PERTURBATIONS
from trainer import features

NOTHING = Markup("–")
NAME_LENGTH = 100  # of a file or folder, in characters; paths may have thousands

MODELS = {"candidate": "This model", "newest": "Last blessed", "best": "Best so far"}
SLICES = {
    features.CLASS_NAME: "Class",
    features.SOURCE_FOLDER: "Source folder",
    features.RESOLUTION_RANGE: "Resolution",
    features.ASPECT_RANGE: "Aspect ratio",
    features.BRIGHTNESS_RANGE: "Brightness",
    features.BYTE_SIZE_RANGE: "File size",
}
RULE_STATES = {"passed": "Passed", "failed": "Failed", "not judged": "Not judged", "noted": "Noted"}
INPUTS = {
    "model": "Model",
    "model_run": "Training run",
    "predictions": "Prediction table",
    "evaluation": "TFMA's evaluation",
    "blessing": "Verdict",
    "serving_check": "Serving check",
    "examples": "Examples",
    "rejected": "What was set aside",
    "statistics": "Statistics of the data",
    "data_verdict": "Verdict on the data",
}
_FIGURES = {
    "accuracy": "Accuracy",
    "auc": "Area under ROC",
    "loss": "Log loss",
    "calibration_error": "Calibration error",
}
_MEANINGS = {
    "accuracy": "share of pictures named rightly",
    "auc": "how well the classes are told apart at every threshold",
    "loss": "in nats; lower is better",
    "calibration_error": "how far probabilities are off; lower is better",
}
_CHANGES = dict(
    zip(
        PERTURBATIONS,
        ("Flipped left to right", "Slightly darkened", "Compressed again", "Resized"),
        strict=True,
    )
)
_PLAIN_NUMBERS = {"auc", "loss"}  # all others are shares


def figure_name(name: str) -> str:
    """Returns what a figure is called: `precision/cat` is "Precision, cat"."""
    kind, _, of_class = name.partition("/")
    if not of_class:
        return _FIGURES.get(name, name)
    return f"{'F1' if kind == 'f1' else kind.capitalize()}, {of_class}"


def meaning(name: str) -> str:
    """Returns what a figure says, in a few words; empty for those that need none."""
    return _MEANINGS.get(name, "")


def change(name: str) -> str:
    """Returns what was done to the pictures."""
    return _CHANGES.get(name, name)


def figure(measured: Facts | None, name: str = "") -> Markup:
    """Returns the value of a figure, in % if it is a share."""
    return NOTHING if measured is None else value(measured["value"], name)


def interval(measured: Facts | None, name: str = "") -> Markup:
    """Returns the 95 % interval of a figure, like "97.1 to 98.8"."""
    if measured is None or measured["low"] is None or measured["high"] is None:
        return NOTHING
    low, high = (value(measured[end], name) for end in ("low", "high"))
    return Markup("{} to {}").format(low.removesuffix("\u202f%"), high)


def value(number: float | None, name: str = "") -> Markup:
    """Returns one number of the figure of that name."""
    if number is None:
        return NOTHING
    return Markup(f"{number:.4f}") if name in _PLAIN_NUMBERS else percent(number)


def percent(share: float | None, digits: int = 1) -> Markup:
    """Returns a share as "98.3 %"."""
    return NOTHING if share is None else Markup(f"{100 * share:.{digits}f}\u202f%")


def points(difference: float | None) -> Markup:
    """Returns a difference of shares in percentage points, with its sign."""
    if difference is None:
        return NOTHING
    return Markup(f"{100 * difference:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0"))


def count(pictures: float | None) -> Markup:
    """Returns a number of things, like "1,000"."""
    return NOTHING if pictures is None else Markup(f"{round(pictures):,}")


def number(found: Any) -> Markup:
    """Returns any number with four digits at most; what is no number is nothing."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return NOTHING
    return Markup(f"{round(found):,}" if found == round(found) else f"{found:.4g}")


def p_value(found: float | None) -> Markup:
    """Returns a probability of the test, like "p = 0.03"."""
    if found is None:
        return NOTHING
    if found < 0.001 or found > 0.999:
        return Markup("p &lt; 0.001" if found < 0.001 else "p &gt; 0.999")
    return Markup(f"p = {found:.2g}")


def moment(time: str | None) -> Markup | str:
    """Returns an ISO time as "22 November 2026, 15:10 UTC"; another text as it is."""
    try:
        parsed = datetime.fromisoformat(time or "")
    except ValueError:
        return time or NOTHING
    zone = "UTC" if parsed.utcoffset() is not None and not parsed.utcoffset() else parsed.strftime("%z")
    return Markup(f"{parsed.day} {parsed:%B %Y, %H:%M} {zone}".rstrip())


def sentence(text: str) -> str:
    """Returns a text that starts a sentence: with a capital, and nothing else changed."""
    return text[:1].upper() + text[1:]


def shorter(text: str, most: int = NAME_LENGTH) -> str:
    """Returns a text of so many characters at most; of longer ones the middle is left out."""
    if len(text) <= most:
        return text
    kept = most - 1
    return f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"


def shares(classes: Mapping[str, int]) -> dict[str, float]:
    """Returns the share of each class."""
    total = sum(classes.values()) or 1
    return {name: pictures / total for name, pictures in classes.items()}


FILTERS: dict[str, Callable[..., Any]] = {
    "figure_name": figure_name,
    "meaning": meaning,
    "change": change,
    "figure": figure,
    "interval": interval,
    "value": value,
    "percent": percent,
    "points": points,
    "count": count,
    "number": number,
    "p_value": p_value,
    "moment": moment,
    "sentence": sentence,
    "shorter": shorter,
    "shares": shares,
}
