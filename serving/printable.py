"""Makes text from outside safe to print: file names, responses, stored files, messages of libraries."""

from __future__ import annotations

import logging
import unicodedata


def printable(text: object) -> str:
    r"""Returns a text in one line, with escape sequences for characters that a terminal would obey or hide.

    These are the characters that `str.isprintable` rejects, except spaces: for example control characters,
    line breaks, marks that change the writing direction, and lone surrogates. ESC becomes `\x1b`.
    """
    return "".join(
        character
        if character.isprintable() or unicodedata.category(character) == "Zs"
        else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


def printable_lines(text: object) -> str:
    """Returns a text with its line breaks, and each line `printable`; tabs become spaces."""
    return "\n".join(printable(line.expandtabs()) for line in str(text).split("\n"))


def log_printable_lines() -> None:
    """Prints log records from level INFO on to stderr, tracebacks included, as `printable_lines`."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))
