"""JSON and numbers as Go writes them: KFP hashes Go's bytes, and steps read Go's texts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ESCAPED = re.compile("[" + "".join(_HTML) + "]")


def dumps(value: Any, html: bool = True) -> str:
    """Returns compact JSON with sorted keys, as `encoding/json` has it.

    Args:
        value: What JSON can hold; numbers are taken for float64, as after `json.Unmarshal`.
        html: Whether `<`, `>` and `&` are escaped, which `encoding/json` does and `protojson` does not.
    """
    if isinstance(value, Mapping):
        members = (f"{dumps(str(key), html)}:{dumps(value[key], html)}" for key in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return _ESCAPED.sub(lambda found: _HTML[found[0]], text) if html else text
    if isinstance(value, Sequence):
        return "[" + ",".join(dumps(item, html) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return _number(float(value))


def plain_number(value: float) -> str:
    """Returns a number without an exponent, as `strconv.FormatFloat(value, 'f', -1, 64)` does."""
    text = format(Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(value: float) -> str:
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return plain_number(value)
    return repr(value).replace("e-0", "e-")
