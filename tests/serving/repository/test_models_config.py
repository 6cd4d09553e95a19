"""Parses `models.config` with TensorFlow Serving's proto."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.repository.models_config import ServedVersions
from serving.repository.storage import PushConfig

CONFIG = PushConfig("catsdogs", "/models/catsdogs", 3)


def parsed(text: str) -> Any:
    document = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    [config] = document.model_config_list.config
    return config


def test_the_config_of_an_object_store_round_trips_with_rolled_back_versions() -> None:
    served = ServedVersions((2, 4), {"stable": 2, "canary": 4}, (3, 5))
    text = served.to_text(CONFIG)
    assert list(parsed(text).model_version_policy.specific.versions) == [2, 4]
    assert ServedVersions.from_text(text) == served


@pytest.mark.parametrize("text", ["not a config", "", "model_config_list {}"])
def test_invalid_files_are_value_errors(text: str) -> None:
    with pytest.raises(ValueError):
        ServedVersions.from_text(text)
