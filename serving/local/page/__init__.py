"""The page at the local server's root: drop an image to see its prediction. It makes no external requests."""

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


def render_page(models: Sequence[str]) -> tuple[bytes, dict[str, str]]:
    """Returns the page's HTML and its HTTP headers.

    Args:
        models: Names of the models to choose from; the first is selected.
    """
    text, headers = _load_page()
    return text.replace(_MODELS, html.escape(json.dumps(list(models)))).encode(), dict(headers)


@cache
def _load_page() -> tuple[str, dict[str, str]]:
    text = _FILE.read_text(encoding="utf-8")
    policy = [
        "default-src 'none'",
        f"script-src {_source_hash('script', text)}",
        f"style-src {_source_hash('style', text)}",
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


def _source_hash(element: str, text: str) -> str:
    """Returns the Content-Security-Policy source of the page's inline script or style."""
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
