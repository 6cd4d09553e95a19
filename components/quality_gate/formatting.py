"""Formats proportions, differences and counts."""

from __future__ import annotations

from components.model_metrics import Estimate


def format_percent(share: float, other: float | None = None) -> str:
    """Returns `97.2 %`, with enough digits to differ from the other proportion."""
    digits = 1
    while other is not None and other != share and digits < 6:
        if f"{100 * share:.{digits}f}" != f"{100 * other:.{digits}f}":
            break
        digits += 1
    return f"{100 * share:.{digits}f} %"


def format_limit(share: float) -> str:
    """Returns a configured limit: `90 %`."""
    return f"{100 * share:.6g} %"


def format_points(difference: float) -> str:
    """Returns the size of a difference in percentage points: `4.0 points`."""
    value = f"{100 * abs(difference):.1f}"
    if value == "0.0" and difference:
        value = f"{100 * abs(difference):.2g}"
    return f"{value} point{'' if value == '1.0' else 's'}"


def format_interval(estimate: Estimate, sign: int = 1) -> str:
    """Returns the interval of an estimate in percent or points: `2.5 to 5.5`."""
    low, high = sorted((100 * sign * estimate.low, 100 * sign * estimate.high))
    return f"{low:.1f} to {high:.1f}".replace("-0.0 ", "0.0 ")


def format_image_count(count: int) -> str:
    """Returns `1 image` or `1,000 images`."""
    return f"{count:,} image{'' if count == 1 else 's'}"


def capitalize(text: str) -> str:
    """Returns the text with an upper-case first letter."""
    return text[:1].upper() + text[1:]


def format_names(names: list[str], most: int = 3) -> str:
    """Returns the first names and the number of the others: `a, b, c and 4 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
