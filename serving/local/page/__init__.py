"""The page at the local server's root: drop a picture, see the answer. It loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("index.html")
_MODELS = "{{models}}"


def render(models: Sequence[str]) -> tuple[bytes, dict[str, str]]:
    """Returns the page, and the headers that go with it.

    Args:
        models: Names of the models that the page may ask, the one it starts with first.
    """
    text, headers = _page()
    return text.replace(_MODELS, html.escape(json.dumps(list(models)))).encode(), dict(headers)


@cache
def _page() -> tuple[str, dict[str, str]]:
    text = _FILE.read_text(encoding="utf-8")
    policy = [
        "default-src 'none'",
        f"script-src {_hash('script', text)}",
        f"style-src {_hash('style', text)}",
        "img-src blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return text, {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "; ".join(policy),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _hash(element: str, text: str) -> str:
    """Returns what allows an inline element, and nothing else of its kind, to take effect."""
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
