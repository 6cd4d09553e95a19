"""What the push and the look before it ask of the place of the served versions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from components.errors import InputError, PipelineError
from serving.errors import ServingError, UsageError
from serving.publication.place import Place, Terms, open_place


def place_of(properties: Mapping[str, Any]) -> Place:
    """Returns the place that a Pusher's execution properties name."""
    terms = Terms(properties["model_name"], properties["base_path"], properties["keep_versions"])
    return open_place(properties["destination"], terms)


@contextlib.contextmanager
def told_by_pipeline() -> Iterator[None]:
    """Turns errors of serving into those that end a run with a sentence.

    Raises:
        InputError: The destination does not fit.
        PipelineError: It cannot be used now.
    """
    try:
        yield
    except UsageError as error:
        raise InputError(str(error)) from error
    except ServingError as error:
        raise PipelineError(str(error)) from error
