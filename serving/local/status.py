"""Errors of requests: gRPC status codes, and the HTTP statuses that TensorFlow Serving maps them to."""

from __future__ import annotations

import grpc
import tensorflow as tf

HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class StatusError(Exception):
    """An error response to a request.

    Attributes:
        code: The gRPC status code.
        message: The error text, TensorFlow Serving's where it has one.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status of the code; 500 for codes without one."""
        return HTTP_STATUS.get(self.code, 500)


def to_status_error(error: Exception) -> StatusError:
    """Converts any exception of a request or a load.

    The result has no traceback, because the frames of a traceback keep their tensors in memory.
    """
    if isinstance(error, StatusError):
        return StatusError(error.code, error.message)
    if isinstance(error, tf.errors.OpError):
        return StatusError(_CODES.get(error.error_code, grpc.StatusCode.UNKNOWN), error.message)
    return StatusError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")


def invalid_argument(message: str) -> StatusError:
    """Returns the error for a request that cannot succeed."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """Returns the error for a request that names something unknown."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def unavailable(message: str) -> StatusError:
    """Returns the error for a request that may succeed when it is retried."""
    return StatusError(grpc.StatusCode.UNAVAILABLE, message)
