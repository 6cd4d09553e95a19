"""What a request's target asks for, read as TensorFlow Serving and libevent beneath it read it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from serving.local.status import invalid_argument

_CHARACTERS = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/{extra}]|%[0-9A-Fa-f]{{2}})*"
_TARGET = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://[^/?#]*)?"
    rf"(?P<path>{_CHARACTERS.format(extra='')})"
    rf"(?P<query>\?{_CHARACTERS.format(extra='?')})?"
    rf"(?P<fragment>#{_CHARACTERS.format(extra='?')})?"
)
_MODEL = r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(_MODEL + r":(?P<method>classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(
    r"/v1/models(?:/(?P<model>[^/:]+))?"
    r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?(?:/(?P<method>metadata))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Target:
    """Where a request goes.

    Attributes:
        path: Without query and fragment.
        whole: With them; TensorFlow Serving compares this one.
    """

    path: str
    whole: str

    @property
    def is_api(self) -> bool:
        """Whether the path is the REST API's, existing or not."""
        return self.whole[:4].lower() == "/v1/"


@dataclass(frozen=True)
class Call:
    """Which model is meant, and what for.

    Attributes:
        model: The model's name; empty where a status request names none.
        version: A version's number, if one is named.
        label: A version's label, if one is named.
        method: As spelt in the path: `predict`, `classify`, `regress`, `metadata`, or empty for the status.
    """

    model: str = ""
    version: int | None = None
    label: str | None = None
    method: str = ""


def target(text: str) -> Target | None:
    """Reads the second word of the request line; None where it is no URI reference by RFC 3986."""
    found = _TARGET.fullmatch(text)
    if not found:
        return None
    path = found["path"]
    return Target(path, path + (found["query"] or "") + (found["fragment"] or ""))


def call(http_method: str, path: str) -> Call | None:
    """Reads the path of an API request; None where it is none.

    Raises:
        StatusError: INVALID_ARGUMENT: the version is no 64-bit number.
    """
    pattern = {"POST": _CALL, "GET": _STATUS}.get(http_method)
    found = pattern.fullmatch(path) if pattern else None
    if not found:
        return None
    version = _number(found["version"]) if found["version"] else None
    label = _decoded(found["label"]) if found["label"] else None
    return Call(_decoded(found["model"] or ""), version, label, found["method"] or "")


def _number(text: str) -> int:
    digits = text.lstrip("0") or "0"
    if len(digits) > 19 or int(digits) >= 2**63:
        raise invalid_argument(f"Failed to convert version: {text} to numeric.")
    return int(digits)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")
