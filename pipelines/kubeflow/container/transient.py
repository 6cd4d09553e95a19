"""Repeats a node after a failure of the network or of the object store, before its pod fails."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import TypeVar

from components.errors import DataRejected, InputError, exception_chain, find_user_error

_PAUSES = (10, 30, 90)  # seconds before each further attempt
# Classes of errors that pass by themselves; by name, since most of the modules are slow to import.
_TRANSIENT = frozenset(
    {
        *("ConnectionError", "ConnectionAbortedError", "ConnectionRefusedError", "ConnectionResetError"),
        *("BrokenPipeError", "RemoteDisconnected", "IncompleteRead", "SSLEOFError", "TimeoutError"),
        "gaierror",  # a host name that cannot be resolved
        *("TooManyRequests", "InternalServerError", "BadGateway", "ServiceUnavailable", "GatewayTimeout"),
        *("RetryError", "TransportError"),  # of Google's client
        *("UnavailableError", "DeadlineExceededError"),  # of TensorFlow's file systems
        "UNAVAILABLE",  # the status of an RPC, such as to Beam's job server
    }
)
_TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})  # of an HTTP response
# Beam passes an exception of a worker on as the text of its traceback.
_TRACEBACK_LINE = re.compile(r"^(?:\w+\.)*(\w+)(?::|$)", re.MULTILINE)

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


def run_with_retries(action: Callable[[], Result]) -> Result:
    """Returns the result of an action, which is repeated after transient failures, with increasing pauses.

    Raises:
        Exception: The failure is not transient, or did not pass.
    """
    for pause in _PAUSES:
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
            _log.warning("A transient failure; repeating in %d seconds.", pause, exc_info=error)
        time.sleep(pause)
    return action()


def is_transient(error: Exception) -> bool:
    """Returns True if the network or the object store failed, and not the task or its input."""
    user_error = find_user_error(error)
    if isinstance(user_error, InputError | DataRejected):
        return False
    for cause in exception_chain(error):
        names = {base.__name__ for base in type(cause).__mro__}
        if type(cause) is RuntimeError:
            names.update(_TRACEBACK_LINE.findall(str(cause)))
        if "RpcError" in names:
            names.add(cause.code().name)  # type: ignore[attr-defined]
        if names & _TRANSIENT or getattr(cause, "code", None) in _TRANSIENT_STATUSES:
            return True
    return False
