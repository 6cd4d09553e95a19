"""Base64 as Abseil reads it: spaces anywhere, padding as it should be or none at all."""

from __future__ import annotations

import binascii
import contextlib
import re

from serving.local.status import invalid_argument

_SPACES = re.compile(r"[ \t\n\v\f\r]+")
_ENCODED = re.compile(r"([A-Za-z0-9+/]*)([=.]*)")
_PADDING = {0: 0, 2: 2, 3: 1}


def decode(text: str) -> bytes:
    """Decodes the standard alphabet.

    Raises:
        StatusError: INVALID_ARGUMENT with TensorFlow Serving's text.
    """
    with contextlib.suppress(ValueError):  # Abseil forgives more
        decoded = binascii.a2b_base64(text, strict_mode=True)
        if len(decoded) == len(text) * 3 // 4 - text[-2:].count("="):  # which Python's does not count
            return decoded
    found = _ENCODED.fullmatch(_SPACES.sub("", text))
    expected = _PADDING.get(len(found[1]) % 4) if found else None
    if found is None or expected is None or len(found[2]) not in (0, expected):
        raise invalid_argument("Unable to base64 decode")
    return binascii.a2b_base64(found[1] + "=" * expected)
