"""The settings of what comes after the evaluation: the check on a server, the push, what stays served."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from components.serving_check.config import ServingCheckConfig
from trainer.training_config import ConfigSection

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*:/")  # gs:/bucket is no folder but a slip
_BUCKET = r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
_FOLDER = r"/[^/\s?#]+"
_DESTINATION = re.compile(f"{_BUCKET}({_FOLDER})+/?")  # models.config and all else lie in the folder
_BASE_PATH = re.compile(f"{_BUCKET}({_FOLDER})*/?")


def is_gcs_address(place: str) -> bool:
    """Whether a place is a gs:// address, which is no path: `pathlib` would drop a slash of it."""
    return place.startswith("gs://")


def _place(address: re.Pattern[str]) -> AfterValidator:
    def check(text: str) -> str:
        if not text or (_ADDRESS.match(text) and not address.fullmatch(text)):
            raise ValueError(f"{text!r} is no place for models: it must be a folder, or gs://BUCKET/FOLDER")
        return text.rstrip("/") or text

    return AfterValidator(check)


Destination = Annotated[str, _place(_DESTINATION)]
BasePath = Annotated[str, _place(_BASE_PATH)]


class ServingConfig(ConfigSection):
    """Where blessed models go, and how many stay.

    Attributes:
        destination: Folder or gs:// address that gets a sub-folder a version; None means
            `<output_root>/serving_model/<pipeline_name>`.
        base_path: What TensorFlow Serving calls that place; None means the gs:// address, or
            `/models/<pipeline_name>`, where containers mount a folder.
        keep_versions: How many of the newest versions stay; no fewer than a server has loaded.
        check: What a server must show of a model before it is pushed.
    """

    destination: Destination | None = None
    base_path: BasePath | None = None
    keep_versions: Annotated[int, Field(ge=3)] = 5
    check: ServingCheckConfig = ServingCheckConfig()
