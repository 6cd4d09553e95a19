"""Errors whose message is shown to the user: the wrong value, what was expected and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator


class PipelineError(Exception):
    """The run cannot continue; the message states why and what to do.

    Attributes:
        exit_status: Exit status of `catsdogs run`.
    """

    exit_status = 1


class InputError(PipelineError):
    """A folder, TFDS builder or class that the user named cannot be used."""

    exit_status = 2


class DataRejected(PipelineError):
    """The data can be read but is not fit for training."""

    exit_status = 4


_ALL: list[type[PipelineError]] = [PipelineError, *PipelineError.__subclasses__()]
_ERROR_CLASSES = {error_class.__name__: error_class for error_class in _ALL}
# Beam passes an exception of a worker on as the text of its traceback.
_TRACEBACK_LINE = re.compile(rf"^(?:components\.errors\.)({'|'.join(_ERROR_CLASSES)}): (.+?)$", re.MULTILINE)
_BEAM_SUFFIX = re.compile(r" \[while running '.*?'\]", re.DOTALL)


def find_user_error(error: BaseException) -> PipelineError | None:
    """Returns the `PipelineError` that caused an exception, or None if there is none."""
    for cause in exception_chain(error):
        if isinstance(cause, PipelineError):
            return type(cause)(remove_beam_suffix(str(cause)))
        quoted_errors = _TRACEBACK_LINE.findall(str(cause))
        if quoted_errors:
            class_name, message = quoted_errors[-1]
            return _ERROR_CLASSES[class_name](remove_beam_suffix(message))
    return None


def remove_beam_suffix(text: str) -> str:
    """Returns a message without the "[while running …]" that Beam appends."""
    return _BEAM_SUFFIX.sub("", text)


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an exception, then its causes, the last one raised first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
