from __future__ import annotations

import pytest

from serving.local import base64_text
from serving.local.status import StatusError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", b""),
        ("Y2F0", b"cat"),
        ("Y2E=", b"ca"),
        ("Y2E", b"ca"),
        ("Yw==", b"c"),
        ("Yw", b"c"),
        ("Yw. =", b"c"),  # Abseil takes a dot for padding, too
        (" Y\t2\nF\v0\f\r", b"cat"),
        ("Y w = =", b"c"),
        ("Y2F", b"ca"),  # bits in excess are dropped
        ("+/+/", b"\xfb\xff\xbf"),
        ("   ", b""),
    ],
)
def test_decodes_what_abseil_decodes(text: str, value: bytes) -> None:
    assert base64_text.decode(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "Y",
        "Y2F0Y",
        "Y2E==",
        "Yw=",
        "Y2F0=",
        "Y2F0====",
        "=",
        "Y2=F0",
        "-_-_",
        "Y2F0!",
        "Y2F0\0",
        "é",
        "Y2\u00a0F0",
    ],
)
def test_refuses_what_abseil_refuses(text: str) -> None:
    with pytest.raises(StatusError, match="^Unable to base64 decode$"):
        base64_text.decode(text)
