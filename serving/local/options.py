"""Options of the local server. Importing this module does not load TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 1024 * 1024


@dataclass(frozen=True)
class RequestLimits:
    """Limits on a single request.

    Attributes:
        max_body_bytes: Largest REST body, after decompression, and largest gRPC message.
        max_pixels: Largest image that is decoded, width times height.
        request_timeout_seconds: Time limit for receiving a REST request (408), and again for responding
            to it (504).
    """

    max_body_bytes: int = 64 * MIB
    max_pixels: int = 50_000_000
    request_timeout_seconds: float = 30.0


@dataclass(frozen=True)
class ServerOptions:
    """Where the server listens, and its request limits.

    Attributes:
        host: Name or address of the interface to listen on.
        rest_port: Port for HTTP; 0 selects a free one.
        grpc_port: Port for gRPC; 0 selects a free one.
        limits: Limits on a single request.
        allowed_hosts: Further names of the server in URLs, besides `host`, localhost, this machine's host
            name and IP addresses.
    """

    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    limits: RequestLimits = field(default_factory=RequestLimits)
    allowed_hosts: tuple[str, ...] = ()
