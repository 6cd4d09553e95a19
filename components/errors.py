"""Errors whose message is written for the user: one sentence with the value, what was expected, the cure."""


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
