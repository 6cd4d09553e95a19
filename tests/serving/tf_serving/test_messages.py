from __future__ import annotations

import pytest
from google.protobuf import text_format

from pipelines.settings import loading
from serving.repository import models_config
from serving.repository.storage import PushConfig
from serving.repository.versions import ModelVersions
from tests.serving.tf_serving.messages import PROTOS, parsed
from tests.serving.tf_serving.shipped import HERE


@pytest.mark.parametrize("name", PROTOS)
def test_config_files_parse_as_protobuf_messages(name: str) -> None:
    assert parsed(name).ByteSize()


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("models.config", "model_platform", "model_plattform"),
        ("models.config", "num_versions: 3", 'num_versions: "two"'),
        ("batching.config", "max_enqueued_batches {", "max_enqueued_batch {"),
        ("batching.config", "num_batch_threads { value: 4 }", "num_batch_threads: 4"),
        ("monitoring.config", "enable: true", "enabled: true"),
    ],
)
def test_a_mistake_in_a_config_file_fails(name: str, right: str, wrong: str) -> None:
    text = (HERE / name).read_text()
    assert right in text
    with pytest.raises(text_format.ParseError):
        parsed(name, text.replace(right, wrong))


def test_batching_parameters_are_valid() -> None:
    batching = parsed("batching.config")
    largest = batching.max_execution_batch_size.value
    assert batching.enable_large_batch_splitting.value
    assert 1 < largest <= batching.max_batch_size.value
    # From batching_session.cc: ascending, the last one what is executed at most. None is shipped.
    assert list(batching.allowed_batch_sizes) in ([], sorted({*batching.allowed_batch_sizes, largest}))
    assert batching.num_batch_threads.value >= 1


def test_the_example_equals_what_a_push_writes() -> None:
    def bare(text: str) -> str:
        return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))

    example = (HERE / "models.config").read_text()
    [config] = parsed("models.config").model_config_list.config
    versions = tuple(sorted(config.version_labels.values()))
    defaults = loading.load()
    config = PushConfig(defaults.pipeline_name, defaults.serving_base_path, defaults.serving.keep_versions)
    written = models_config.folder_config(ModelVersions(versions), config)
    assert len(versions) == 2
    assert bare(example) == bare(written)
