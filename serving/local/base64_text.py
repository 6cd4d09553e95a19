"""Base64 as Abseil reads it: spaces anywhere, padding as it should be or none at all."""

from __future__ import annotations

import binascii
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
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # not well-formed, or not even ASCII: Abseil forgives more
        pass
    found = _ENCODED.fullmatch(_SPACES.sub("", text))
    expected = _PADDING.get(len(found[1]) % 4) if found else None
    if found is None or expected is None or len(found[2]) not in (0, expected):
        raise invalid_argument("Unable to base64 decode")
    return binascii.a2b_base64(found[1] + "=" * expected)
