"""`models.config`: what TensorFlow Serving is told to serve.

The server takes a file only while its labels name versions that are loaded, or labels that it does not have
yet; otherwise it keeps what it has, and tries again a second later. So labels move to what is loaded by then.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from serving.repository.storage import PushConfig
from serving.repository.versions import LOADED, ModelVersions

NAME = "models.config"
STABLE, CANARY = "stable", "canary"

_HEAD = "# Written by catsdogs after every push and every rollback; what is changed here is overwritten.\n"
_WITHDRAWN = re.compile(r"^# withdrawn: (\d+(?: \d+)*)$", re.MULTILINE)


def labels(versions: ModelVersions) -> dict[str, int]:
    """Returns which versions the labels name: the newest is `canary`, the one served before it `stable`.

    Args:
        versions: The versions; one of them at least is live.
    """
    assert versions.served is not None
    assert versions.stable is not None
    return {STABLE: versions.stable, CANARY: versions.served}


def of_folder(versions: ModelVersions, config: PushConfig) -> str:
    """Returns the text for a folder, in which the server finds the versions by itself.

    Args:
        versions: The versions; one of them at least is live.
        config: Name and base path of the model.
    """
    document, model = _document(config, labels(versions))
    model.model_version_policy.latest.num_versions = LOADED
    return _text(document, versions.withdrawn)


@dataclasses.dataclass(frozen=True)
class ServedVersions:
    """What the file says for an object store, where it alone decides what is served and what is withdrawn.

    Attributes:
        loaded: The versions that a server has to load, ascending.
        labels: Which of them the labels name.
        withdrawn: The versions that were rolled back, ascending.
    """

    loaded: tuple[int, ...] = ()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    withdrawn: tuple[int, ...] = ()

    def to_text(self, config: PushConfig) -> str:
        """Returns the text of the file.

        Args:
            config: Name and base path of the model.
        """
        document, model = _document(config, self.labels)
        model.model_version_policy.specific.versions.extend(self.loaded)
        return _text(document, self.withdrawn)

    @classmethod
    def from_text(cls, text: str) -> ServedVersions:
        """Reads `to_text` back.

        Raises:
            ValueError: It is not such a file.
        """
        from google.protobuf import text_format
        from tensorflow_serving.config import model_server_config_pb2

        document = model_server_config_pb2.ModelServerConfig()
        try:
            text_format.Parse(text, document)
            [model] = document.model_config_list.config
        except text_format.ParseError as error:
            raise ValueError(str(error)) from error
        found = _WITHDRAWN.search(text)
        return cls(
            loaded=tuple(sorted(model.model_version_policy.specific.versions)),
            labels=dict(model.version_labels),
            withdrawn=tuple(map(int, found[1].split())) if found else (),
        )


def _document(config: PushConfig, named: Mapping[str, int]) -> tuple[Any, Any]:
    from tensorflow_serving.config import model_server_config_pb2

    document = model_server_config_pb2.ModelServerConfig()
    model = document.model_config_list.config.add(
        name=config.model_name, base_path=config.base_path, model_platform="tensorflow"
    )
    model.version_labels.update(named)
    return document, model


def _text(document: Any, withdrawn: Sequence[int]) -> str:
    from google.protobuf import text_format

    comment = f"# withdrawn: {' '.join(map(str, withdrawn))}\n" if withdrawn else ""
    return _HEAD + comment + str(text_format.MessageToString(document))
