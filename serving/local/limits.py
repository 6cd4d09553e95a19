"""What one request may cost the local server."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class RequestLimits:
    """The bounds of the local server that can be set.

    Attributes:
        max_body_bytes: Largest request over REST, after it is inflated where it comes compressed, and largest
            message over gRPC.
        max_pixels: Largest picture, width times height, that is decoded.
        request_timeout_seconds: For sending a request over REST (408), and again for its answer (504).
    """

    max_body_bytes: int = 64 * MIB
    max_pixels: int = 50_000_000
    request_timeout_seconds: float = 30.0
