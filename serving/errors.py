"""Errors whose message is written for the user: one sentence with the value, what was expected, the cure."""

from __future__ import annotations


class ServingError(Exception):
    """A command cannot go on; the message says why and what to do.

    Attributes:
        exit_status: The status the command ends with.
    """

    exit_status = 1


class UsageError(ServingError):
    """What the user named (a picture, a version, a folder, an address) does not fit."""

    exit_status = 2
