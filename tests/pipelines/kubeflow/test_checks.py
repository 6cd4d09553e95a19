"""What `catsdogs compile` refuses before it starts, and what it lets pass."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.errors import InputError
from pipelines.cli import app
from pipelines.kubeflow.checks import check_output, check_settings
from pipelines.settings.loading import load

IMAGES = [f"kubeflow.images.{kind}=r.example/{kind}@sha256:{'a' * 64}" for kind in ("cpu", "gpu")]
GS = "kubeflow.pipeline_root=gs://bucket/catsdogs"
FLINK = ["beam.runner=flink", "beam.flink.master=flink:8081"]
NAME = "a" * 58


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data.source=sample"],
        ["data.source=tfds", "data.tfds.data_dir=/data/tfds"],
        ["output_root=/state"],
        ["serving.destination=/state/elsewhere"],
        ["serving.destination=gs://our-models/pets"],
        ["training.weights=random"],
        [f"pipeline_name={NAME[:57]}"],
        ["kubeflow.artifact_store.endpoint=minio:9000"],
        [GS],
        ["beam.args=[--no_pipeline_type_check]"],
        [*FLINK, "beam.flink.job_endpoint=jobs:8099", "beam.flink.environment=external"],
    ],
)
def test_what_can_run(overrides: list[str]) -> None:
    check_settings(load("kubeflow", [*IMAGES, *overrides]))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["kubeflow.images.cpu="], ["kubeflow.images.cpu", "make image"]),
        (["kubeflow.images.gpu="], ["kubeflow.images.gpu"]),
        (["kubeflow.pipeline_root="], ["kubeflow.pipeline_root", "minio://BUCKET/FOLDER"]),
        (
            [GS, "kubeflow.artifact_store.endpoint=minio:9000"],
            ["kubeflow.artifact_store.endpoint", "'minio:9000'", "gs://bucket/catsdogs"],
        ),
        (["output_root=/scratch"], ["output_root", "/scratch", "/state, /data"]),
        (["kubeflow.volumes=[]"], ["output_root", "/state/catsdogs", "none"]),
        (["data.folder=/pictures"], ["data.folder", "/pictures"]),
        (["data.source=tfds", "data.tfds.data_dir=/tfds"], ["data.tfds.data_dir", "/tfds"]),
        (["data.source=tfds"], ["data.tfds.data_dir", "None"]),
        (["data.source=sample", "data.class_names=[ant, bee]"], ["cat"]),
        (
            ["serving.destination=/srv/models"],
            ["serving.destination", "/srv/models", "/state, /data", "gs://"],
        ),
        ([f"pipeline_name={NAME}"], ["pipeline_name", NAME, "58", "57"]),
        (["training.weights=/state/mine.h5"], ["training.weights", "/state/mine.h5", "imagenet or random"]),
        (["beam.runner=flink"], ["beam.flink.master", "HOST:PORT"]),
        (FLINK, ["beam.flink.job_endpoint", "HOST:PORT"]),
        ([*FLINK, "beam.flink.job_endpoint=jobs:8099"], ["beam.flink.environment", "loopback", "external"]),
    ],
)
def test_what_could_not_run_gets_one_sentence(overrides: list[str], named: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check_settings(load("kubeflow", [*IMAGES, *overrides]))
    assert [value for value in named if value not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_folders_of_the_cluster_are_not_looked_for_on_this_machine() -> None:
    settings = load("kubeflow", [*IMAGES, "data.folder=/data/no/such/folder/here"])
    assert settings.data.folder is not None
    assert not settings.data.folder.exists()
    check_settings(settings)


@pytest.mark.parametrize("name", ["pipeline.yaml", "other.yml"])
def test_yaml_is_written(name: str, tmp_path: Path) -> None:
    check_output(tmp_path / name)


@pytest.mark.parametrize("name", ["pipeline.json", "pipeline", "missing/pipeline.yaml", "folder.yaml"])
def test_what_cannot_be_written_is_said_first(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InputError, match=re.escape(str(tmp_path / name))):
        check_output(tmp_path / name)


def test_the_command_refuses_at_once_and_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "pipeline.yaml"
    output.write_text("an earlier one")
    started = time.monotonic()
    result = CliRunner().invoke(app, ["compile", "--output", str(output)])
    assert isinstance(result.exception, InputError)
    assert "kubeflow.images.cpu" in str(result.exception)
    assert time.monotonic() - started < 5  # TFX alone takes longer to import
    assert output.read_text() == "an earlier one"
    assert list(tmp_path.iterdir()) == [output]
