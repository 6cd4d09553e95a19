"""Names of container images, with the digest that makes each name one image for good."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_DOMAIN_PART = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_REGISTRY = rf"{_DOMAIN_PART}(\.{_DOMAIN_PART})*(:[0-9]+)?/"
_NAME_PART = r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*"
_TAG = r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_IMAGE = re.compile(rf"({_REGISTRY})?{_NAME_PART}(/{_NAME_PART})*({_TAG})?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def _by_digest(image: str) -> str:
    name, _, digest = image.partition("@")
    if not _DIGEST.fullmatch(digest):
        raise ValueError(
            f"{image!r} does not name one image for good, and what a tag's earlier image made would be used: "
            "name it by its digest, REGISTRY/NAME@sha256:…"
        )
    if not _IMAGE.fullmatch(name):
        raise ValueError(
            f"{image!r} is not the name of an image: before the digest, it must be small letters and digits, "
            "in parts with '.', '_', '-' and '/' between them, such as registry.example.com/team/catsdogs"
        )
    return image


Image = Annotated[str, AfterValidator(_by_digest)]
