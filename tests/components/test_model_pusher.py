"""Runs the real executor and driver between real folders."""

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
from components.model_pusher.executor import Driver, Executor, _run_of_kubeflow
from serving import warmup
from serving.repository.publish import ModelRepository, open_repository
from serving.repository.storage import PushConfig
from serving.repository.versions import versions

Push = Callable[..., standard_artifacts.PushedModel]

OWN = {".lock", "history.jsonl", "models.config"}


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
    """`push(contents, blessed=True, check=…, destination=…)`: pushes a model, returns the PushedModel.

    `check` is the serving check's verdict, with warm-up requests of these contents; None leaves it out.
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

    [version] = versions(served)
    assert (served / str(version) / "variables" / "variables.index").read_text() == "first"
    assert (served / str(version) / "saved_model.pb").exists()
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == str(version)
    assert pushed.get_string_custom_property("pushed_destination") == str(served / str(version))
    assert {entry.name for entry in served.iterdir()} == {str(version), *OWN}
    assert (Path(pushed.uri) / "saved_model.pb").exists(), "the archive, as the stock Pusher keeps it"


@pytest.mark.parametrize(("blessed", "check"), [(False, None), (True, (False, "warm"))])
def test_a_model_that_the_gate_or_the_serving_check_refuses_is_not_pushed(
    push: Push, served: Path, blessed: bool, check: tuple[bool, str] | None
) -> None:
    assert push(blessed=blessed, check=check).get_int_custom_property("pushed") == 0
    assert not served.exists()


def test_a_model_that_nobody_judged_is_refused() -> None:
    with pytest.raises(ValueError, match="blessing"):
        Executor().Do({"model": [standard_artifacts.Model()], "model_blessing": []}, {}, {})


def test_a_push_that_fails_while_copying_leaves_nothing_and_the_next_one_succeeds(
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
    assert copied, "the copy had begun"
    assert {entry.name for entry in served.iterdir()} == {".lock"}

    push()
    assert len(versions(served)) == 1


def test_warm_up_requests_become_part_of_the_version(push: Push, served: Path) -> None:
    first = push(check=(True, "warm"))
    requests = served / str(number(first)) / warmup.FILE
    assert requests.read_text() == "warm"

    again = push(check=(True, "other pictures"))
    assert number(again) == number(first), "it is the same model"
    assert versions(served) == [number(first)]
    assert requests.read_text() == "warm"


def test_the_manifest_says_where_the_version_comes_from(
    push: Push, served: Path, repository: ModelRepository, tmp_path: Path
) -> None:
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    (tmp_path / "examples" / "Split-train").mkdir(parents=True)
    (tmp_path / "examples" / "Split-train" / "data.gz").write_text("pictures")

    pushed = push(check=(True, "warm"), examples=[examples])

    text = (served / str(number(pushed)) / "manifest.json").read_text()
    written = json.loads(text)
    assert written["version"] == number(pushed)
    assert written["model_name"] == "catsdogs"
    assert written["tensorflow_version"] == "2.21.0"
    assert written["signatures"] == ["serving_default", "serving_examples"]
    assert written["code_fingerprints"] == {"trainer": "c0de"}
    assert len(written["data_fingerprint"]) == 64
    assert set(written["files"]) == {*(warmup.FILE, "saved_model.pb", "variables/variables.index")}
    assert repository.damage(number(pushed)) is None
    assert repository.manifest(number(pushed)).to_json() == text  # type: ignore[union-attr]


def test_on_kubeflow_the_run_is_told_by_the_output_s_address() -> None:
    run = "6f4bbd6c-2c0c-4f0a-8d0c-3f4d2c6e8b1a"
    address = f"/minio/mlpipeline/v2/artifacts/catsdogs/{run}/Pusher/{run[::-1]}/pushed_model"
    assert _run_of_kubeflow(address) == run
    assert _run_of_kubeflow("/home/me/output/artifacts/Pusher/pushed_model/12") is None


def test_a_model_that_was_rolled_back_is_not_pushed_again_until_it_is_brought_back(
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


def test_what_cannot_be_used_is_told_as_the_pipeline_tells_it(push: Push, tmp_path: Path) -> None:
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
    """`replaced_by(contents)`: what the driver adds for the model of that content."""

    def look(contents: str) -> str:
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / f"model-{contents}")
        info = data_types.ExecutionInfo(input_dict={"model": [model]}, exec_properties=properties(served))
        added: str = Driver(store).run(info).exec_properties["replaced_by"].string_value
        return added

    return look


def test_the_cache_is_told_when_a_model_was_replaced_by_another(
    push: Push, served: Path, replaced_by: Callable[[str], str]
) -> None:
    push("unblessed", blessed=False)
    assert replaced_by("unblessed") == ""
    push("first")
    assert replaced_by("unblessed") == replaced_by("first") == ""
    push("second")
    [_, second] = versions(served)
    assert replaced_by("second") == "", "a repeated run must find its push in the cache"
    assert replaced_by("first") == str(second)

    push("first")
    assert replaced_by("first") == ""
    assert replaced_by("second") == str(versions(served)[-1])


def test_the_cache_is_told_when_a_model_was_rolled_back_or_is_damaged(
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


def test_the_cache_is_told_when_a_model_is_no_longer_kept_or_nothing_is_served_any_more(
    push: Push, served: Path, store: metadata.Metadata, replaced_by: Callable[[str], str]
) -> None:
    pushed = push("first")
    with store as connection:
        kind = metadata_store_pb2.ArtifactType(name="PushedModel")
        pushed.mlmd_artifact.type_id = connection.store.put_artifact_type(kind, can_add_fields=True)
        pushed.mlmd_artifact.ClearField("name")
        [id_of_push] = connection.store.put_artifacts([pushed.mlmd_artifact])
    newest = [number(push(f"model {index}")) for index in range(5)][-1]
    assert len(versions(served)) == 5
    assert replaced_by("first") == str(newest)
    shutil.rmtree(served)
    assert replaced_by("first") == f"nothing after push {id_of_push}"
    push("first")
    assert replaced_by("first") == ""
