from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from serving.printable import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x07", r"\x1b[2J\x07"),  # clears the screen, rings the bell
        ("\x9b31m\x7f", r"\x9b31m\x7f"),  # the 8-bit form of ESC [, and DEL
        ("a\r\nb", r"a\r\nb"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),  # changes the writing direction
        ("cat\u200b\ufeff", r"cat\u200b\ufeff"),  # invisible
        ("\u2028\udcff\U000e0001", r"\u2028\udcff\U000e0001"),
    ],
)
def test_characters_that_a_terminal_obeys_or_hides_become_visible(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["", "chat noir (1).jpg", "кошка", "猫とéö", "🐱 [bold] \\x", "98\u202f%"])
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert printable(text) == printable_lines(text) == text


def test_lines_keep_their_line_breaks() -> None:
    assert printable_lines("one\n\ttwo\x1b[1A\r\n") == "one\n        two\\x1b[1A\\r\n"


def test_printable_accepts_other_objects() -> None:
    assert printable(ValueError("\x1b")) == r"\x1b"


def test_log_records_and_tracebacks_are_printable() -> None:
    script = """
import logging
from serving.printable import log_printable_lines
log_printable_lines()
try:
    raise ValueError("\\x1b[2Jnot a number")
except ValueError:
    logging.exception("%s failed", "\\x9b31m")
"""
    log = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    first, *traceback = log.splitlines()
    assert first.endswith(r"\x9b31m failed")
    assert logging.getLevelName(logging.ERROR) in first
    assert traceback[-1] == r"ValueError: \x1b[2Jnot a number"
