"""What REST and gRPC share: URLs, the model spec, predictions and errors."""

from __future__ import annotations

import ipaddress
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from serving.client.retries import RetryableError
from serving.errors import ServingError, UsageError
from serving.printable import printable

MAX_RESPONSE_BYTES = 4 * 2**20  # gRPC's default; enough for 40,000 predictions

_GRPC_PORT = 8500
_MAX_VERSION = 2**63 - 1
_MAX_MESSAGE_LENGTH = 1000  # characters of a server's message
LABEL, PROBABILITY_SUFFIX = "label", "_probability"  # names of a model's outputs


@dataclass(frozen=True)
class ModelSpec:
    """A model on a server.

    Attributes:
        name: Name of the model.
        version: Version number; None for the newest, or the one with the label.
        label: Label of the version; None for the newest, or `version`.

    Raises:
        UsageError: A value is invalid, or both version and label are set.
    """

    name: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or ":" in self.name:
            raise UsageError(
                f"{self.name!r} is not a model name; expected the name on the server, such as catsdogs."
            )
        if self.version is not None and not 0 <= self.version <= _MAX_VERSION:
            raise UsageError(
                f"{self.version} is not a model version; expected a number from 0 to {_MAX_VERSION}."
            )
        if self.version is not None and self.label is not None:
            raise UsageError(
                f"Version {self.version} and label {self.label!r} are both given: choose one of them."
            )


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one image.

    Attributes:
        probability: Probability of the second class, 0 to 1.
        probability_of: Name of the second class, for example "dog".
        label: Name of the predicted class.
        version: Version of the model; None if the response does not contain it.
    """

    probability: float
    probability_of: str
    label: str
    version: int | None = None


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version on the server.

    Attributes:
        version: Version number.
        state: "START", "LOADING", "AVAILABLE", "UNLOADING" or "END".
        error: Why loading failed; empty if it did not.
    """

    version: int
    state: str
    error: str = ""


class Unreachable(ServingError):
    """The server is unreachable or overloaded, after all retries."""


class RequestRejected(ServingError):
    """The server rejected the request.

    Attributes:
        code: Name of the gRPC status code, for example "INVALID_ARGUMENT".
        text: The server's error message, unchanged.
    """

    def __init__(self, message: str, code: str, text: str) -> None:
        super().__init__(message)
        self.code = code
        self.text = text


def parse_url(url: str) -> tuple[bool, str]:
    """Returns True for gRPC or False for REST, and the address: HOST:PORT for gRPC, the URL for REST.

    Args:
        url: `http://HOST:PORT`, `https://HOST`, optionally with a path, or `grpc://HOST:PORT`.

    Raises:
        UsageError: The URL is invalid.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    is_grpc = parts.scheme == "grpc"
    if (
        not host
        or parts.scheme not in ("http", "https", "grpc")
        or parts.query
        or parts.fragment
        or (is_grpc and (parts.path.strip("/") or parts.username))
    ):
        raise UsageError(
            f"{url!r} is not a server address; expected http://HOST:PORT, https://HOST:PORT or "
            "grpc://HOST:PORT."
        )
    if is_grpc:
        return True, f"{f'[{host}]' if ':' in host else host}:{port or _GRPC_PORT}"
    return False, parts.geturl().rstrip("/")


def is_local(url: str) -> bool:
    """Returns True if the URL names this machine, which a proxy cannot reach."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_version(value: object) -> int:
    """Returns a model version, which TensorFlow Serving's JSON holds as text.

    Raises:
        ValueError: The value is not a version number.
    """
    if isinstance(value, str) and re.fullmatch("[0-9]{1,19}", value):
        value = int(value)
    if type(value) is int and 0 <= value <= _MAX_VERSION:
        return value
    raise ValueError(f"{reprlib.repr(value)} is not a model version")


def parse_prediction(row: object, version: int | None, url: str) -> Prediction:
    """Returns the prediction in one row of a response.

    Args:
        row: The outputs by name: `<class>_probability`, a number, and `label`, a string.
        version: Version of the model, if known.
        url: URL of the server, for the error message.

    Raises:
        ServingError: The row has other outputs.
    """
    if isinstance(row, Mapping):
        names = [name for name in row if name.endswith(PROBABILITY_SUFFIX)]
        label = row.get(LABEL)
        if len(names) == 1 and isinstance(label, str):
            name, value = names[0], row[names[0]]
            if type(value) in (int, float) and 0 <= value <= 1:
                return Prediction(float(value), name.removesuffix(PROBABILITY_SUFFIX), label, version)
            raise ServingError(
                f"The model at {url} returns {single_line(name)} {reprlib.repr(value)}; expected a "
                "number from 0 to 1: use a model that this project exported."
            )
        outputs = single_line(", ".join(f"{name} ({type(value).__name__})" for name, value in row.items()))
    else:
        outputs = f"one unnamed {type(row).__name__}"
    raise ServingError(
        f"The model at {url} returns {outputs or 'nothing'}; expected a label and a probability: use a model "
        "that this project exported."
    )


def no_server_error(url: str) -> RetryableError:
    """Returns the error for a URL at which no server listens."""
    return RetryableError(
        Unreachable(
            f"No model server responds at {url}: start one with catsdogs serve, or choose another with --url."
        )
    )


def single_line(text: object) -> str:
    """Returns a server's message in one printable line, shortened, without a final full stop."""
    line = " ".join(str(text).split())
    if len(line) > _MAX_MESSAGE_LENGTH:
        line = f"{line[:_MAX_MESSAGE_LENGTH]} …"
    return printable(line).rstrip(".")
