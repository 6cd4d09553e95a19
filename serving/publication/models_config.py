"""`models.config`: what TensorFlow Serving is told to serve, derived from the versions that there are.

The server takes a file only while its labels name versions that are loaded, or labels that it does not have
yet; otherwise it keeps what it has, and tries again a second later. So labels move to what is loaded by then.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from serving.publication.stock import LOADED, Stock

NAME = "models.config"
STABLE, CANARY = "stable", "canary"

_HEAD = "# Written by catsdogs after every push and every rollback; what is changed here is overwritten.\n"
_WITHDRAWN = re.compile(r"^# withdrawn: (\d+(?: \d+)*)$", re.MULTILINE)


def labels(stock: Stock) -> dict[str, int]:
    """Returns which versions the labels name: the newest is `canary`, the one served before it `stable`."""
    assert stock.served is not None
    assert stock.stable is not None
    return {STABLE: stock.stable, CANARY: stock.served}


def of_folder(stock: Stock, model_name: str, base_path: str) -> str:
    """Returns the text for a folder, in which the server finds the versions by itself.

    Args:
        stock: The versions; one of them at least is live.
        model_name: Name of the model.
        base_path: What the server calls the folder.
    """
    document, config = _document(model_name, base_path, labels(stock))
    config.model_version_policy.latest.num_versions = LOADED
    return _text(document, stock)


def of_bucket(
    stock: Stock, model_name: str, base_path: str, versions: Collection[int], named: dict[str, int]
) -> str:
    """Returns the text for a bucket, in which this file alone says what is served, and what is withdrawn.

    Args:
        stock: The versions.
        model_name: Name of the model.
        base_path: What the server calls the place.
        versions: What the server has to load.
        named: Which versions the labels name.
    """
    document, config = _document(model_name, base_path, named)
    config.model_version_policy.specific.versions.extend(sorted(versions))
    return _text(document, stock)


def read(text: str) -> tuple[tuple[int, ...], dict[str, int], tuple[int, ...]]:
    """Reads `of_bucket` back.

    Returns:
        The versions to load, ascending; the labels; the withdrawn versions, ascending.

    Raises:
        ValueError: It is not such a file.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    document = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, document)
        [config] = document.model_config_list.config
    except text_format.ParseError as error:
        raise ValueError(str(error)) from error
    found = _WITHDRAWN.search(text)
    withdrawn = tuple(map(int, found[1].split())) if found else ()
    return (
        tuple(sorted(config.model_version_policy.specific.versions)),
        dict(config.version_labels),
        withdrawn,
    )


def _document(model_name: str, base_path: str, named: dict[str, int]) -> tuple[Any, Any]:
    from tensorflow_serving.config import model_server_config_pb2

    document = model_server_config_pb2.ModelServerConfig()
    config = document.model_config_list.config.add(
        name=model_name, base_path=base_path, model_platform="tensorflow"
    )
    config.version_labels.update(named)
    return document, config


def _text(document: Any, stock: Stock) -> str:
    from google.protobuf import text_format

    withdrawn = f"# withdrawn: {' '.join(map(str, stock.withdrawn))}\n" if stock.withdrawn else ""
    return _HEAD + withdrawn + str(text_format.MessageToString(document))
