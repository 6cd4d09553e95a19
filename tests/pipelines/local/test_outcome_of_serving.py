"""What the summary tells of the serving check and of the push, read from a real metadata store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2

from pipelines.local.summary import Check, Outcome, Push
from serving.publication.manifest import Manifest, files_in
from serving.publication.place import Place, Terms, open_place
from tests.serving.publication import cloud_storage

pytestmark = pytest.mark.slow

RUN = "2026-11-22T05-10-01"
REPORT = {
    "problems": [],
    "server": "TensorFlow Serving 2.19.1",
    "pictures": [{}] * 32,
    "protocols": {
        "REST": {"largest_difference": 1e-7, "p95_ms": 41.2},
        "gRPC": {"largest_difference": 3e-7, "p95_ms": 38.0},
    },
}
Read = Callable[..., Outcome]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """`read({type name: {property: value}}, cached=False)`: the outcome of a run with these artifacts."""
    from pipelines.local import outcome

    (tmp_path / "artifact").mkdir()
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    store = ml_metadata.MetadataStore(config)

    def run(artifacts: dict[str, dict[str, int | str]], cached: bool = False) -> Outcome:
        run_type = store.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run"))
        step_type = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Step"))
        state = metadata_store_pb2.Execution.CACHED if cached else metadata_store_pb2.Execution.COMPLETE
        event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
        for name, properties in artifacts.items():
            kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name=name))
            artifact = metadata_store_pb2.Artifact(type_id=kind, uri=str(tmp_path / "artifact"))
            for key, value in properties.items():
                field = "int_value" if isinstance(value, int) else "string_value"
                setattr(artifact.custom_properties[key], field, value)
            store.put_execution(
                metadata_store_pb2.Execution(type_id=step_type, last_known_state=state),
                [(artifact, event)],
                [metadata_store_pb2.Context(type_id=run_type, name=RUN)],
                reuse_context_if_already_exist=True,
            )
        return outcome.read(store, RUN)

    return run


def report(folder: Path, **changes: Any) -> None:
    (folder / "artifact" / "report.json").write_text(json.dumps({**REPORT, **changes}))


def test_a_passed_check(read: Read, tmp_path: Path) -> None:
    report(tmp_path)
    assert read({"InfraBlessing": {"blessed": 1}}).check == Check(
        True, [], "TensorFlow Serving 2.19.1", 32, 3e-7, {"REST": 41.2, "gRPC": 38.0}
    )


def test_a_refusal_without_an_answer(read: Read, tmp_path: Path) -> None:
    report(tmp_path, problems=["it cannot be loaded"], server=None, pictures=[], protocols={})
    found = read({"ModelBlessing": {"blessed": 1}, "InfraBlessing": {"blessed": 0}})
    assert found.check == Check(False, ["it cannot be loaded"])
    assert found.blessed
    assert found.exit_status == 3


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An empty place that keeps three versions."""
    terms = Terms("pets", "/models/pets", 3)
    if request.param == "folder":
        yield open_place(str(tmp_path / "served"), terms)
        return
    monkeypatch.setattr("serving.publication.bucket._SETTLED", 0)
    with cloud_storage.emulated("models"):
        yield open_place("gs://models/pets", terms)


def publish(place: Place, model: str) -> int:
    with place.staging() as staging:
        version = staging / "version"
        version.mkdir()
        (version / "saved_model.pb").write_text(model)
        return place.publish(version, Manifest(files_in(version)))


def pushed_before(place: Place, number: int) -> dict[str, dict[str, int | str]]:
    destination = f"{place.address}/{number}"
    properties: dict[str, int | str] = {
        "pushed": 1,
        "pushed_destination": destination,
        "pushed_version": str(number),
    }
    return {"PushedModel": properties}


def test_a_model_that_is_served_under_a_later_number_is_found(
    read: Read, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "artifact" / "saved_model.pb").write_text("A")
    first, *_, last = (publish(place, model) for model in "ABCDA")
    assert first not in place.stock().live
    found = read(pushed_before(place, first), cached=True)
    assert found.push == Push(str(last), f"{place.address}/{last}", earlier=True)
    assert found.exit_status == 0


def test_a_model_that_another_one_has_replaced_is_not_said_to_be_served(
    read: Read, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "artifact" / "saved_model.pb").write_text("A")
    first, _ = (publish(place, model) for model in "AB")
    found = read(pushed_before(place, first), cached=True)
    assert found.push == Push(str(first), f"{place.address}/{first}", earlier=True, missing=True)
    assert found.exit_status == 3


def test_an_emptied_place_serves_nothing(read: Read, place: Place) -> None:
    assert read(pushed_before(place, 7), cached=True).exit_status == 3


def test_a_push_of_this_run_is_not_looked_for(read: Read) -> None:
    pushed = {"pushed": 1, "pushed_destination": "gs://our-models/pets/7", "pushed_version": "7"}
    assert read({"PushedModel": pushed}).push == Push("7", "gs://our-models/pets/7")


def test_a_model_that_was_rolled_back_is_not_pushed_for_that_reason(read: Read) -> None:
    found = read({"PushedModel": {"pushed": 0, "withdrawn_version": "7", "reason": "It was rolled back."}})
    assert (found.push, found.not_pushed, found.exit_status) == (None, "It was rolled back.", 3)
