"""The base class of the Beam functions that run on the workers of a cluster."""

from __future__ import annotations

import functools

import apache_beam as beam

from components import fingerprint
from components.errors import InputError


class SameCodeDoFn(beam.DoFn):
    """Raises InputError on a worker whose code is not that of the process that started the pipeline.

    Beam sends a function to a worker by its name: a worker with an older image would write other results.
    """

    def __init__(self) -> None:
        self._code = _code_fingerprint()

    def setup(self) -> None:
        """Compares the code, once per worker."""
        if self._code != _code_fingerprint():
            raise InputError(
                f"A Beam worker has other code ({_code_fingerprint()[:12]}) than the step "
                f"({self._code[:12]}): start the worker pools again with the same code or container image."
            )


@functools.cache
def _code_fingerprint() -> str:
    return fingerprint.of_code("components", "serving", "trainer")
