"""Errors whose message is meant for the user: the value, what was expected, and what to do."""

from __future__ import annotations


class ServingError(Exception):
    """A command cannot continue; the message says why and what to do.

    Attributes:
        exit_status: Exit status of the command.
    """

    exit_status = 1


class UsageError(ServingError):
    """An argument (image, version, folder, address) is invalid."""

    exit_status = 2
