"""Types of the arguments of commands in the pods."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def pair(form: str, separator: str) -> Callable[[str], tuple[str, str]]:
    """Returns a type for two texts in one.

    Args:
        form: What the user reads, such as `NAME=VALUE`.
        separator: What stands between them; the second text may hold it too.
    """

    def parse(text: str) -> tuple[str, str]:
        first, found, second = text.partition(separator)
        if not found:
            raise argparse.ArgumentTypeError(f"{text!r} must be {form}")
        return first, second

    return parse
