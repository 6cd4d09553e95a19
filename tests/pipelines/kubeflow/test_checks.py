"""What `catsdogs compile` refuses before it starts, and what it lets pass."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.errors import InputError
from pipelines.cli import app
from pipelines.kubeflow.checks import check, check_output
from pipelines.settings import load

IMAGES = [f"kubeflow.images.{kind}=r.example/{kind}@sha256:{'a' * 64}" for kind in ("cpu", "gpu")]
GS = "kubeflow.pipeline_root=gs://bucket/catsdogs"
DATAFLOW = "--runner=DataflowRunner, --project=p, --region=r"
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
        ["kubeflow.beam_args=[--runner=DirectRunner]"],
        ["kubeflow.beam_args=[--direct_num_workers=1]"],
        [GS, f"kubeflow.beam_args=[{DATAFLOW}, --temp_location=gs://bucket/tmp]"],
        [GS, "kubeflow.beam_args=[--runner=FlinkRunner, --flink_master=flink:8081]"],
    ],
)
def test_what_can_run(overrides: list[str]) -> None:
    check(load("kubeflow", [*IMAGES, *overrides]))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["kubeflow.images.cpu="],
            "The setting kubeflow.images.cpu is missing: `make image` builds the image; push it, and name",
        ),
        (["kubeflow.images.gpu="], "The setting kubeflow.images.gpu is missing"),
        (
            ["kubeflow.pipeline_root="],
            "The setting kubeflow.pipeline_root is missing: it must be minio://BUCKET",
        ),
        (
            [GS, "kubeflow.artifact_store.endpoint=minio:9000"],
            "The setting kubeflow.artifact_store.endpoint is 'minio:9000', and kubeflow.pipeline_root is "
            "gs://bucket/catsdogs, which is Google's: leave the endpoint out, or use s3:// or minio://.",
        ),
        (
            ["output_root=/scratch"],
            "The setting output_root is /scratch, which is on no volume and would be gone with the pod: name "
            "a folder below a mount_path of kubeflow.volumes (mounted are: /state, /data).",
        ),
        (["kubeflow.volumes=[]"], "The setting output_root is /state/catsdogs, which is on no volume"),
        (["kubeflow.volumes=[]"], "(mounted are: none)."),
        (["data.folder=/pictures"], "The setting data.folder is /pictures, which is on no volume"),
        (
            ["data.source=tfds", "data.tfds.data_dir=/tfds"],
            "The setting data.tfds.data_dir is /tfds, which is on no volume",
        ),
        (["data.source=tfds"], "The setting data.tfds.data_dir is None, which is on no volume"),
        (["data.source=sample", "data.class_names=[ant, bee]"], "cat"),
        (
            ["serving.destination=/srv/models"],
            "The setting serving.destination is /srv/models, which is on no volume and would be gone with "
            "the pod: name a folder below a mount_path of kubeflow.volumes (mounted are: /state, /data), or "
            "a gs:// address.",
        ),
        (
            [f"pipeline_name={NAME}"],
            f"The pipeline_name '{NAME}' has 58 characters, and on Kubeflow it may have 57: Kubernetes names",
        ),
        (
            ["training.weights=/state/mine.h5"],
            "The setting training.weights is /state/mine.h5, a file of this machine that is not in the "
            "image: on Kubeflow it must be packaged, imagenet or random.",
        ),
        (
            [GS, "kubeflow.beam_args=[--runner=DataflwRunner]"],
            "The --runner of kubeflow.beam_args is 'DataflwRunner'. Did you mean 'DataflowRunner'?",
        ),
        (
            [GS, f"kubeflow.beam_args=[{DATAFLOW}]"],
            "kubeflow.beam_args has --runner=DataflowRunner and lacks --temp_location: add it, as "
            "--temp_location=VALUE.",
        ),
        (
            [GS, "kubeflow.beam_args=[--runner=DataflowRunner]"],
            "lacks --project and --region and --temp_location: add them, as --project=VALUE.",
        ),
        ([GS, "kubeflow.beam_args=[--runner=FlinkRunner]"], "lacks --flink_master: add it"),
        (
            [GS, "kubeflow.beam_args=[--runner=PortableRunner]"],
            "The --runner of kubeflow.beam_args is 'PortableRunner'. Did you mean",
        ),
        (
            ["kubeflow.beam_args=[--runner=FlinkRunner, --flink_master=flink:8081]"],
            "kubeflow.beam_args has --runner=FlinkRunner, whose workers reach artifacts on gs:// only, and "
            "kubeflow.pipeline_root is minio://mlpipeline/catsdogs: use a gs:// root, or leave --runner out.",
        ),
    ],
)
def test_what_could_not_run_gets_one_sentence(overrides: list[str], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        check(load("kubeflow", [*IMAGES, *overrides]))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_folders_of_the_cluster_are_not_looked_for_on_this_machine() -> None:
    settings = load("kubeflow", [*IMAGES, "data.folder=/data/no/such/folder/here"])
    assert settings.data.folder is not None
    assert not settings.data.folder.exists()
    check(settings)


@pytest.mark.parametrize("name", ["pipeline.yaml", "other.yml"])
def test_yaml_is_written(name: str, tmp_path: Path) -> None:
    check_output(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("pipeline.json", "and Kubeflow Pipelines takes YAML only: it must end with .yaml or .yml."),
        ("pipeline", "takes YAML only"),
        ("missing/pipeline.yaml", "cannot be written: there is no folder "),
        ("folder.yaml", "cannot be written: it is a folder."),
    ],
)
def test_what_cannot_be_written_is_said_first(name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InputError) as caught:
        check_output(tmp_path / name)
    assert sentence in str(caught.value)


def test_the_command_refuses_at_once_and_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "pipeline.yaml"
    output.write_text("an earlier one")
    started = time.monotonic()
    result = CliRunner().invoke(app, ["compile", "--output", str(output)])
    assert isinstance(result.exception, InputError)
    assert "kubeflow.images.cpu is missing" in str(result.exception)
    assert time.monotonic() - started < 5  # TFX alone takes longer to import
    assert output.read_text() == "an earlier one"
    assert list(tmp_path.iterdir()) == [output]
