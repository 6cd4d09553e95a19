"""Errors whose message is written for the user: one sentence with the value, what was expected, the cure."""

from __future__ import annotations

import re
from collections.abc import Iterator


class PipelineError(Exception):
    """A run cannot go on; the message says why and what to do.

    Attributes:
        exit_status: The status `catsdogs run` ends with.
    """

    exit_status = 1


class InputError(PipelineError):
    """What the user named (a folder, a builder, a class) does not fit."""

    exit_status = 2


class DataRejected(PipelineError):
    """The data were read, and are not good enough to train on."""

    exit_status = 4


_ALL: list[type[PipelineError]] = [PipelineError, *PipelineError.__subclasses__()]
_KINDS = {kind.__name__: kind for kind in _ALL}
# Beam hands on what a worker raised as the text of its traceback.
_IN_TRACEBACK = re.compile(rf"^(?:components\.errors\.)({'|'.join(_KINDS)}): (.+?)$", re.MULTILINE)
_BEAM_SUFFIX = re.compile(r" \[while running '.*?'\]", re.DOTALL)


def find_user_error(error: BaseException) -> PipelineError | None:
    """Returns the error for the user somewhere behind an exception; None where there is none."""
    for link in chain(error):
        if isinstance(link, PipelineError):
            return type(link)(without_suffix(str(link)))
        quoted = _IN_TRACEBACK.findall(str(link))
        if quoted:
            kind, message = quoted[-1]
            return _KINDS[kind](without_suffix(message))
    return None


def without_suffix(text: str) -> str:
    """Returns a message without what Beam adds, which is where it was running."""
    return _BEAM_SUFFIX.sub("", text)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an exception and those behind it, the last one raised first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
