"""Formats durations, sizes, percentages and paths for people."""

from __future__ import annotations

from pathlib import Path


def format_duration(seconds: float) -> str:
    """Returns `4.2 s`, `1 min 05 s` or `2 h 03 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def format_size(count: int) -> str:
    """Returns a number of bytes in MB or GB (powers of ten)."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def format_share(value: float, interval: tuple[float, float] | None, decimals: int = 2) -> str:
    """Returns a share in percent, followed by its interval if there is one: `97.89% (92.6–99.4)`."""
    bounds = f" ({interval[0] * 100:.1f}–{interval[1] * 100:.1f})" if interval else ""
    return f"{value:.{decimals}%}{bounds}"


def format_path(full: Path | str) -> str:
    """Returns a path relative to the working directory if it is below it; a URL unchanged."""
    if "://" in str(full):
        return str(full)
    full = Path(full)
    return str(full.relative_to(Path.cwd())) if full.is_relative_to(Path.cwd()) else str(full)
