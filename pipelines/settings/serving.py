"""The `serving` settings: the serving check, the push, and how many model versions are kept."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from components.serving_check.config import ServingCheckConfig
from trainer.training_config import ConfigSection

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*:/")  # gs:/bucket is a typing error, not a folder
_BUCKET = r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
_FOLDER = r"/[^/\s?#]+"
_DESTINATION = re.compile(f"{_BUCKET}({_FOLDER})+/?")  # a folder is required: models.config is written there
_BASE_PATH = re.compile(f"{_BUCKET}({_FOLDER})*/?")


def is_gcs_address(path: str) -> bool:
    """Returns True if the path is a gs:// address, which `pathlib` would corrupt."""
    return path.startswith("gs://")


def _folder_or_address(address: re.Pattern[str]) -> AfterValidator:
    def check(text: str) -> str:
        if not text or (_ADDRESS.match(text) and not address.fullmatch(text)):
            raise ValueError(f"{text!r} is not a model repository: it must be a folder or gs://BUCKET/FOLDER")
        return text.rstrip("/") or text

    return AfterValidator(check)


Destination = Annotated[str, _folder_or_address(_DESTINATION)]
BasePath = Annotated[str, _folder_or_address(_BASE_PATH)]


class ServingConfig(ConfigSection):
    """The model repository and the serving check.

    Attributes:
        destination: Model repository, a folder or a gs:// address with one sub-folder for each version; None
            means `<output_root>/serving_model/<pipeline_name>`.
        base_path: Path of the repository as TensorFlow Serving sees it; None means the gs:// address, or
            `/models/<pipeline_name>` for a folder, where containers mount it.
        keep_versions: Number of newest versions to keep; at least as many as a server has loaded.
        max_pixels: The exported model rejects images with more pixels.
        check: The serving check that a model must pass before it is pushed.
    """

    destination: Destination | None = None
    base_path: BasePath | None = None
    keep_versions: Annotated[int, Field(ge=3)] = 5
    max_pixels: Annotated[int, Field(ge=1, le=10**12)] = 50_000_000
    check: ServingCheckConfig = ServingCheckConfig()
