"""What REST and gRPC share: the address, the model, what a server can say, and trying again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from serving.errors import ServingError, UsageError

_GRPC_PORT = 8500
_LAST_VERSION = 2**63 - 1
_SUFFIX = "_probability"
_FIRST_PAUSE = 0.1  # seconds; doubles with every try
_LONGEST_PAUSE = 5.0  # seconds

T = TypeVar("T")


@dataclass(frozen=True)
class ModelSpec:
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


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture.

    Attributes:
        probability: Of the second class, 0 to 1.
        probability_of: That class, for example "dog".
        label: The class that the model decides for.
        version: The model's version that answered; None where the server does not tell.
    """

    probability: float
    probability_of: str
    label: str
    version: int | None = None


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version on the server.

    Attributes:
        version: Its number.
        state: "START", "LOADING", "AVAILABLE", "UNLOADING" or "END".
        error: Why it could not be loaded; empty where nothing is wrong.
    """

    version: int
    state: str
    error: str = ""


class Unreachable(ServingError):
    """No server answers, or none that has time, after all tries."""


class RequestRejected(ServingError):
    """The server answered, and does not do what it was asked.

    Attributes:
        code: gRPC's name for what is wrong, for example "INVALID_ARGUMENT".
        text: What the server says, word for word.
    """

    def __init__(self, message: str, code: str, text: str) -> None:
        super().__init__(message)
        self.code = code
        self.text = text


class TryAgain(Exception):
    """A try that failed and need not fail again.

    Attributes:
        error: What the user is told when it was the last one.
        after: Seconds that the server asks to wait; None where it does not say.
    """

    def __init__(self, error: Unreachable, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


@dataclass(frozen=True)
class Retries:
    """How often to try, and for how long.

    Attributes:
        times: How often to try again after the first try.
        timeout: Seconds for all tries together. No try begins later, and each waits for the server at most
            as long as is left.
    """

    times: int
    timeout: float

    def run(self, attempt: Callable[[float], T]) -> T:
        """Returns what the first successful try returns.

        Args:
            attempt: Called with the seconds that are left; raises TryAgain.

        Raises:
            Unreachable: The last try failed, or no time is left for another.
        """
        deadline = time.monotonic() + self.timeout
        pause = _FIRST_PAUSE
        for tries_left in range(self.times, -1, -1):
            try:
                return attempt(max(deadline - time.monotonic(), 0.001))
            except TryAgain as failure:
                # Full jitter, so that clients that failed together do not come back together.
                wait = random.uniform(0, pause) if failure.after is None else failure.after
                if not tries_left or time.monotonic() + wait >= deadline:
                    raise failure.error from None
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("the last try returns or raises")


def parse_url(url: str) -> tuple[bool, str]:
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
        parts, host, port = urlsplit(""), None, None
    over_grpc = parts.scheme == "grpc"
    if (
        not host
        or parts.scheme not in ("http", "https", "grpc")
        or parts.query
        or parts.fragment
        or (over_grpc and (parts.path.strip("/") or parts.username))
    ):
        raise UsageError(
            f"{url!r} is no address of a server: http://HOST:PORT, https://HOST:PORT or grpc://HOST:PORT "
            "is expected."
        )
    if over_grpc:
        return True, f"{f'[{host}]' if ':' in host else host}:{port or _GRPC_PORT}"
    return False, parts.geturl().rstrip("/")


def is_here(url: str) -> bool:
    """Returns whether a server runs on this machine, to which no proxy leads back."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def prediction(row: object, version: int | None, where: str) -> Prediction:
    """Returns the prediction in one row of a response.

    Args:
        row: The outputs by name: `<class>_probability`, a number, and `label`, a string.
        version: The version that gave it, where that is known.
        where: The server's address, for the error.

    Raises:
        ServingError: The model is none that classifies pictures.
    """
    if isinstance(row, Mapping):
        names = [name for name in row if name.endswith(_SUFFIX)]
        label = row.get("label")
        if len(names) == 1 and isinstance(row[names[0]], int | float) and isinstance(label, str):
            return Prediction(float(row[names[0]]), names[0].removesuffix(_SUFFIX), label, version)
    outputs = ", ".join(map(str, row)) if isinstance(row, Mapping) else f"one unnamed {type(row).__name__}"
    raise ServingError(
        f"The model at {where} answers with {outputs}, and a label and a probability are expected: is it a "
        "classifier of pictures that this project has pushed?"
    )


def no_server(where: str) -> TryAgain:
    """Returns the error of an address where nothing listens."""
    return TryAgain(
        Unreachable(
            f"No server answers at {where}: start one with catsdogs serve, or name another with --url."
        )
    )


def one_line(text: object) -> str:
    """Returns a server's words for the middle of a sentence."""
    return " ".join(str(text).split()).rstrip(".")
