"""Who decides: a decision against the rules is kept with a name."""

from __future__ import annotations

import getpass

from components.errors import InputError


def login_name(cure: str) -> str:
    """Returns the login name of whoever runs the command.

    Args:
        cure: How to give a name where there is none.

    Raises:
        InputError: The system knows none, as in some containers.
    """
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        raise InputError(f"There is no login name here: say who decides: {cure}") from None
