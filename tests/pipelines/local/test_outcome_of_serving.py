"""What the summary tells of the serving check and of the push, read from a real metadata store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2

from pipelines.local.summary import Check, Outcome, Push

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
            artifact = metadata_store_pb2.Artifact(type_id=kind, uri=str(tmp_path))
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
    (folder / "report.json").write_text(json.dumps({**REPORT, **changes}))


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


def test_a_push_to_a_bucket_keeps_its_address(read: Read) -> None:
    pushed = {"pushed": 1, "pushed_destination": "gs://our-models/pets/7", "pushed_version": "7"}
    found = read({"PushedModel": pushed}, cached=True)
    assert found.push == Push("7", "gs://our-models/pets/7", earlier=True)
    assert found.exit_status == 0


def test_a_model_that_was_rolled_back_is_not_pushed_for_that_reason(read: Read) -> None:
    found = read({"PushedModel": {"pushed": 0, "withdrawn_version": "7", "reason": "It was rolled back."}})
    assert (found.push, found.not_pushed, found.exit_status) == (None, "It was rolled back.", 3)
