"""Runs the executor and the driver on real folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable import data_types
from tfx.types import standard_artifacts
from tfx.utils import io_utils

from components.errors import InputError
from components.model_pusher.executor import Driver, Executor, _kubeflow_run_id
from serving import warmup
from serving.repository.model_repository import ModelRepository, open_repository
from serving.repository.storage import PushConfig
from serving.repository.versions import list_versions

Push = Callable[..., standard_artifacts.PushedModel]

REPOSITORY_FILES = {".lock", "history.jsonl", "models.config"}


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return tmp_path / "serving_model" / "catsdogs"


@pytest.fixture
def repository(served: Path) -> ModelRepository:
    return open_repository(str(served), PushConfig("catsdogs", "/models/catsdogs", 5))


def properties(destination: Path | str) -> dict[str, Any]:
    return {
        "destination": str(destination),
        "base_path": "/models/catsdogs",
        "keep_versions": 5,
        "model_name": "catsdogs",
        "code_fingerprints": '{"trainer": "c0de"}',
    }


def graph() -> bytes:
    saved_model = saved_model_pb2.SavedModel()
    meta_graph = saved_model.meta_graphs.add()
    meta_graph.meta_info_def.tensorflow_version = "2.21.0"
    for name in ("serving_default", "serving_examples", "__saved_model_init_op"):
        meta_graph.signature_def[name].method_name = "tensorflow/serving/predict"
    return saved_model.SerializeToString(deterministic=True)


@pytest.fixture
def push(tmp_path: Path, served: Path) -> Push:
    """`push(contents, blessed=True, check=…, destination=…)`: pushes a model and returns the PushedModel.

    `check` is the serving check's blessing and the contents of its warm-up requests; None omits it.
    """

    def run(
        contents: str = "first",
        blessed: bool = True,
        check: tuple[bool, str] | None = None,
        destination: Path | str = served,
        **more: list[Any],
    ) -> standard_artifacts.PushedModel:
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / f"model-{contents}")
        variables = tmp_path / f"model-{contents}" / "Format-Serving" / "variables"
        variables.mkdir(parents=True, exist_ok=True)
        (variables / "variables.index").write_text(contents)
        (variables.parent / "saved_model.pb").write_bytes(graph())
        blessing = standard_artifacts.ModelBlessing()
        blessing.uri = str(tmp_path / "blessing")
        blessing.set_int_custom_property("blessed", int(blessed))
        if check is not None:
            checked = standard_artifacts.InfraBlessing()
            checked.uri = str(tmp_path / "check")
            checked.set_int_custom_property("blessed", int(check[0]))
            Path(checked.uri).mkdir(exist_ok=True)
            (Path(checked.uri) / "tf_serving_warmup_requests").write_text(check[1])
            more["infra_blessing"] = [checked]
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / "pushed")
        Executor().Do(
            {"model": [model], "model_blessing": [blessing], **more},
            {"pushed_model": [pushed]},
            properties(destination),
        )
        return pushed

    return run


def number(pushed: standard_artifacts.PushedModel) -> int:
    return int(pushed.get_string_custom_property("pushed_version"))


def test_a_blessed_model_becomes_a_version(push: Push, served: Path) -> None:
    pushed = push()

    [version] = list_versions(served)
    assert (served / str(version) / "variables" / "variables.index").read_text() == "first"
    assert (served / str(version) / "saved_model.pb").exists()
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == str(version)
    assert pushed.get_string_custom_property("pushed_destination") == str(served / str(version))
    assert {entry.name for entry in served.iterdir()} == {str(version), *REPOSITORY_FILES}
    assert (Path(pushed.uri) / "saved_model.pb").exists(), "an archive, as in TFX's Pusher"


@pytest.mark.parametrize(("blessed", "check"), [(False, None), (True, (False, "warm"))])
def test_an_unblessed_model_is_not_pushed(
    push: Push, served: Path, blessed: bool, check: tuple[bool, str] | None
) -> None:
    assert push(blessed=blessed, check=check).get_int_custom_property("pushed") == 0
    assert not served.exists()


def test_a_missing_blessing_is_an_error() -> None:
    with pytest.raises(ValueError, match="ModelBlessing"):
        Executor().Do({"model": [standard_artifacts.Model()], "model_blessing": []}, {}, {})


def test_a_push_that_fails_while_copying_leaves_no_files_and_the_next_one_succeeds(
    push: Push, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Path] = []
    copy_dir = io_utils.copy_dir

    def fail(source: str, target: str) -> None:
        copy_dir(source, target)
        copied.extend(served.rglob("variables.index"))
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(io_utils, "copy_dir", fail)
        with pytest.raises(OSError, match="No space"):
            push()
    assert copied, "the copy had started"
    assert {entry.name for entry in served.iterdir()} == {".lock"}

    push()
    assert len(list_versions(served)) == 1


def test_warm_up_requests_become_part_of_the_version(push: Push, served: Path) -> None:
    first = push(check=(True, "warm"))
    requests = served / str(number(first)) / warmup.REQUESTS_FILE
    assert requests.read_text() == "warm"

    again = push(check=(True, "other images"))
    assert number(again) == number(first), "it is the same model"
    assert list_versions(served) == [number(first)]
    assert requests.read_text() == "warm"


def test_the_manifest_records_the_origin_of_the_version(
    push: Push, served: Path, repository: ModelRepository, tmp_path: Path
) -> None:
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    (tmp_path / "examples" / "Split-train").mkdir(parents=True)
    (tmp_path / "examples" / "Split-train" / "data.gz").write_text("images")

    pushed = push(check=(True, "warm"), examples=[examples])

    text = (served / str(number(pushed)) / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["version"] == number(pushed)
    assert manifest["model_name"] == "catsdogs"
    assert manifest["tensorflow_version"] == "2.21.0"
    assert manifest["signatures"] == ["serving_default", "serving_examples"]
    assert manifest["code_fingerprints"] == {"trainer": "c0de"}
    assert len(manifest["data_fingerprint"]) == 64
    assert set(manifest["files"]) == {*(warmup.REQUESTS_FILE, "saved_model.pb", "variables/variables.index")}
    assert repository.damage(number(pushed)) is None
    assert repository.manifest(number(pushed)).to_json() == text  # type: ignore[union-attr]


def test_on_kubeflow_the_run_id_comes_from_the_output_uri() -> None:
    run = "6f4bbd6c-2c0c-4f0a-8d0c-3f4d2c6e8b1a"
    address = f"/minio/mlpipeline/v2/artifacts/catsdogs/{run}/Pusher/{run[::-1]}/pushed_model"
    assert _kubeflow_run_id(address) == run
    assert _kubeflow_run_id("/home/me/output/artifacts/Pusher/pushed_model/12") is None


def test_a_rolled_back_model_is_not_pushed_again_until_it_is_restored(
    push: Push, repository: ModelRepository
) -> None:
    first, second = push("first"), push("second")
    repository.roll_back(None)

    refused = push("second")
    assert refused.get_int_custom_property("pushed") == 0
    assert refused.get_string_custom_property("withdrawn_version") == str(number(second))
    assert f"catsdogs rollback {number(second)}" in refused.get_string_custom_property("reason")
    assert repository.versions().live == (number(first),)

    assert number(push("first")) == number(first), "it is served"
    repository.roll_back(number(second))
    assert number(push("second")) == number(second)
    assert repository.versions().live == (number(first), number(second))


def test_an_unusable_destination_raises_pipeline_errors(push: Push, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gs://bucket-alone"):
        push(destination="gs://bucket-alone")
    damaged = tmp_path / "no-folder"
    damaged.write_text("")
    with pytest.raises(OSError, match="no-folder"):
        push(destination=damaged)


@pytest.fixture
def store(tmp_path: Path) -> metadata.Metadata:
    return metadata.Metadata(metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")))


@pytest.fixture
def replaced_by(tmp_path: Path, served: Path, store: metadata.Metadata) -> Callable[[str], str]:
    """`replaced_by(contents)`: the driver's `replaced_by` for the model with these contents."""

    def run_driver(contents: str) -> str:
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / f"model-{contents}")
        info = data_types.ExecutionInfo(input_dict={"model": [model]}, exec_properties=properties(served))
        value: str = Driver(store).run(info).exec_properties["replaced_by"].string_value
        return value

    return run_driver


def test_replaced_by_changes_when_another_model_is_served(
    push: Push, served: Path, replaced_by: Callable[[str], str]
) -> None:
    push("unblessed", blessed=False)
    assert replaced_by("unblessed") == ""
    push("first")
    assert replaced_by("unblessed") == replaced_by("first") == ""
    push("second")
    [_, second] = list_versions(served)
    assert replaced_by("second") == "", "a repeated run must find its push in the cache"
    assert replaced_by("first") == str(second)

    push("first")
    assert replaced_by("first") == ""
    assert replaced_by("second") == str(list_versions(served)[-1])


def test_replaced_by_changes_when_a_model_is_rolled_back_or_damaged(
    push: Push, served: Path, repository: ModelRepository, replaced_by: Callable[[str], str]
) -> None:
    first, second = number(push("first")), number(push("second"))
    repository.roll_back(None)
    assert replaced_by("first") == ""
    assert replaced_by("second") == f"{first}, {second} withdrawn"
    repository.roll_back(second)
    assert replaced_by("second") == ""
    assert replaced_by("first") == str(second)

    (served / str(second) / "saved_model.pb").write_bytes(b"broken")
    assert replaced_by("second") == f"{second}, damaged"
    assert number(push("second")) > second
    assert replaced_by("second") == ""


def test_replaced_by_changes_when_a_version_was_removed_or_none_is_served(
    push: Push, served: Path, store: metadata.Metadata, replaced_by: Callable[[str], str]
) -> None:
    pushed = push("first")
    with store as connection:
        kind = metadata_store_pb2.ArtifactType(name="PushedModel")
        pushed.mlmd_artifact.type_id = connection.store.put_artifact_type(kind, can_add_fields=True)
        pushed.mlmd_artifact.ClearField("name")
        [id_of_push] = connection.store.put_artifacts([pushed.mlmd_artifact])
    newest = [number(push(f"model {index}")) for index in range(5)][-1]
    assert len(list_versions(served)) == 5
    assert replaced_by("first") == str(newest)
    shutil.rmtree(served)
    assert replaced_by("first") == f"nothing after push {id_of_push}"
    push("first")
    assert replaced_by("first") == ""
