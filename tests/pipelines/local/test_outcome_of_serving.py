"""Serving check and push of a run outcome, read from a real metadata store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.runs.run_record import PushOutcome, RunOutcome, ServingCheckOutcome
from serving.repository.manifest import Manifest, checksum_files
from serving.repository.model_repository import ModelRepository, open_repository
from serving.repository.storage import PushConfig
from tests.serving.repository import cloud_storage

pytestmark = pytest.mark.slow

REPORT = {
    "problems": [],
    "server": "TensorFlow Serving 2.19.1",
    "pictures": [{}] * 32,
    "protocols": {
        "REST": {"largest_difference": 1e-7, "p95_ms": 41.2},
        "gRPC": {"largest_difference": 3e-7, "p95_ms": 38.0},
    },
}
Read = Callable[..., RunOutcome]  # the fixture of conftest.py


def report(folder: Path, **changes: Any) -> None:
    (folder / "artifact" / "report.json").write_text(json.dumps({**REPORT, **changes}))


def test_a_passed_check(read: Read, tmp_path: Path) -> None:
    report(tmp_path)
    assert read({"ServingCheck.blessing": {"blessed": 1}}).check == ServingCheckOutcome(
        True, [], "TensorFlow Serving 2.19.1", 32, 3e-7, {"REST": 41.2, "gRPC": 38.0}
    )


def test_a_failed_check_without_a_server(read: Read, tmp_path: Path) -> None:
    report(tmp_path, problems=["it cannot be loaded"], server=None, pictures=[], protocols={})
    outcome = read({"ServingCheck.blessing": {"blessed": 0}})
    assert outcome.check == ServingCheckOutcome(False, ["it cannot be loaded"])
    assert outcome.exit_status == 3


@pytest.fixture(params=["folder", "bucket"])
def repository(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModelRepository]:
    """An empty model repository that keeps three versions."""
    config = PushConfig("pets", "/models/pets", 3)
    if request.param == "folder":
        yield open_repository(str(tmp_path / "served"), config)
        return
    monkeypatch.setattr("serving.repository.object_store._LOAD_SECONDS", 0)
    with cloud_storage.emulated("models"):
        yield open_repository("gs://models/pets", config)


def push_model(repository: ModelRepository, model: str) -> int:
    with repository.staging() as staging:
        version = staging / "version"
        version.mkdir()
        (version / "saved_model.pb").write_text(model)
        return repository.push(version, Manifest(checksum_files(version)))


def pushed_before(repository: ModelRepository, number: int) -> dict[str, dict[str, int | str]]:
    destination = f"{repository.address}/{number}"
    properties: dict[str, int | str] = {
        "pushed": 1,
        "pushed_destination": destination,
        "pushed_version": str(number),
    }
    return {"Pusher.pushed_model": properties}


def test_a_model_served_under_a_later_version_is_found(
    read: Read, repository: ModelRepository, tmp_path: Path
) -> None:
    (tmp_path / "artifact" / "saved_model.pb").write_text("A")
    first, *_, last = (push_model(repository, model) for model in "ABCDA")
    assert first not in repository.versions().live
    outcome = read(pushed_before(repository, first), cached=True)
    assert outcome.push == PushOutcome(str(last), f"{repository.address}/{last}", already_pushed=True)
    assert outcome.exit_status == 0


def test_a_replaced_model_is_no_longer_served(
    read: Read, repository: ModelRepository, tmp_path: Path
) -> None:
    (tmp_path / "artifact" / "saved_model.pb").write_text("A")
    first, _ = (push_model(repository, model) for model in "AB")
    outcome = read(pushed_before(repository, first), cached=True)
    assert outcome.push == PushOutcome(
        str(first), f"{repository.address}/{first}", already_pushed=True, no_longer_served=True
    )
    assert outcome.exit_status == 3


def test_a_push_of_this_run_does_not_read_the_repository(read: Read) -> None:
    pushed = {"pushed": 1, "pushed_destination": "gs://our-models/pets/7", "pushed_version": "7"}
    assert read({"Pusher.pushed_model": pushed}).push == PushOutcome("7", "gs://our-models/pets/7")


def test_a_rolled_back_model_is_not_pushed_again(read: Read) -> None:
    outcome = read(
        {"Pusher.pushed_model": {"pushed": 0, "withdrawn_version": "7", "reason": "It was rolled back."}}
    )
    assert (outcome.push, outcome.not_pushed_reason, outcome.exit_status) == (None, "It was rolled back.", 3)
