"""Shares and differences as people read them."""

from __future__ import annotations

from components.model_metrics import Estimate


def percent(share: float, beside: float | None = None) -> str:
    """Returns `97.2 %`, with as many digits as tell it from the share that is said beside it."""
    digits = 1
    while beside is not None and beside != share and digits < 6:
        if f"{100 * share:.{digits}f}" != f"{100 * beside:.{digits}f}":
            break
        digits += 1
    return f"{100 * share:.{digits}f} %"


def bound(share: float) -> str:
    """Returns a limit as it was set: `90 %`."""
    return f"{100 * share:.6g} %"


def points(difference: float) -> str:
    """Returns the size of a difference of shares: `4.0 points`."""
    value = f"{100 * abs(difference):.1f}"
    if value == "0.0" and difference:
        value = f"{100 * abs(difference):.2g}"
    return f"{value} point{'' if value == '1.0' else 's'}"


def between(figure: Estimate, sign: int = 1) -> str:
    """Returns the interval of a share or difference in hundredths: `2.5 to 5.5`."""
    low, high = sorted((100 * sign * figure.low, 100 * sign * figure.high))
    return f"{low:.1f} to {high:.1f}".replace("-0.0 ", "0.0 ")


def pictures(count: int) -> str:
    """Returns `1 picture` or `1,000 pictures`."""
    return f"{count:,} picture{'' if count == 1 else 's'}"


def sentence(text: str) -> str:
    """Returns the text with its first letter in upper case, and nothing else changed."""
    return text[:1].upper() + text[1:]


def listed(names: list[str], most: int = 3) -> str:
    """Returns the first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
