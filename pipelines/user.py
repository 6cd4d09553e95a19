"""The user's name, which overrides and Kubeflow packages record."""

from __future__ import annotations

import getpass

from components.errors import InputError


def login_name(cure: str) -> str:
    """Returns the user's login name.

    Args:
        cure: The end of the error message: how to give a name instead.

    Raises:
        InputError: The system has no login name, as in some containers.
    """
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        raise InputError(
            f"This system has no login name, which records who decided: give a name with {cure}"
        ) from None
