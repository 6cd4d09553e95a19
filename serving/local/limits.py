"""What one request, one connection and all of them together may cost the local server."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """The bounds the local server keeps.

    Attributes:
        max_body_bytes: Largest request over REST, and largest message over gRPC; a larger one is refused
            unread.
        max_values: JSON values of one REST request, by its commas, colons and opening brackets; more are
            refused unread, as each takes some 200 bytes of memory.
        max_pending_bytes: Bytes of all REST requests and of their answers under way; beyond it the answer is
            503. Those of gRPC have as many for themselves.
        max_requests: REST requests being read or answered at a time; beyond it the answer is 503.
        body_timeout_seconds: For sending a request's body.
        idle_timeout_seconds: For sending a request's head, and for a connection to wait for its next request.
        request_timeout_seconds: For the answer to a request that has been read; after it the answer is 504.
            As long again is there for taking the answer.
        max_pixels: Largest picture, width times height, that is decoded.
        max_batch: Rows of one batch.
        max_queue: Requests that may wait for a batch.
        max_streams: gRPC requests being answered at a time.
    """

    max_body_bytes: int = 64 * MIB
    max_values: int = 4_000_000
    max_pending_bytes: int = 512 * MIB
    max_requests: int = 4096
    body_timeout_seconds: float = 30.0
    idle_timeout_seconds: float = 60.0
    request_timeout_seconds: float = 30.0
    max_pixels: int = 50_000_000
    max_batch: int = 16
    max_queue: int = 4096
    max_streams: int = 4096
