"""Where a server is, and which of its models is asked."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from serving.errors import UsageError

_GRPC_PORT = 8500
_LAST_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Model:
    """A model of a server.

    Attributes:
        name: What the server calls it.
        version: This version; None means the newest, or the label's.
        label: The version that carries this label; None means the newest, or `version`.
    """

    name: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or ":" in self.name:
            raise UsageError(
                f"{self.name!r} is no model's name: one that the server knows, as catsdogs, is expected."
            )
        if self.version is not None and not 0 <= self.version <= _LAST_VERSION:
            raise UsageError(
                f"{self.version} is no version of a model: a number from 0 to {_LAST_VERSION} is expected."
            )
        if self.version is not None and self.label is not None:
            raise UsageError(
                f"Version {self.version} and label {self.label!r} are both given: either of them is enough."
            )


def parse(url: str) -> tuple[bool, str]:
    """Returns whether an address means gRPC, and the address as the transport wants it.

    Args:
        url: `http://HOST:PORT`, `https://HOST`, with a path where a proxy wants one, or `grpc://HOST:PORT`.

    Raises:
        UsageError: It is none of these.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.query or parts.fragment or parts.scheme not in ("http", "https", "grpc"):
        raise _no_address(url)
    if parts.scheme != "grpc":
        return False, parts.geturl().rstrip("/")
    if parts.path.strip("/") or parts.username:
        raise _no_address(url)
    return True, f"{f'[{host}]' if ':' in host else host}:{port or _GRPC_PORT}"


def is_here(host: str | None) -> bool:
    """Returns whether a host is this machine, to which no proxy leads back."""
    return host in ("localhost", "127.0.0.1", "::1")


def _no_address(url: str) -> UsageError:
    return UsageError(
        f"{url!r} is no address of a server: http://HOST:PORT, https://HOST:PORT or grpc://HOST:PORT is "
        "expected."
    )
