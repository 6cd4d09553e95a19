from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2

from pipelines.runs.run_record import RunOutcome

RUN = "2026-11-22T05-10-01"
Read = Callable[..., RunOutcome]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """`read({"Step.output": {property: value}}, cached=False)`: the outcome of a run with these artifacts."""
    from pipelines.local import outcome

    (tmp_path / "artifact").mkdir()
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    store = ml_metadata.MetadataStore(config)

    def run(artifacts: dict[str, dict[str, int | str]], cached: bool = False) -> RunOutcome:
        run_type = store.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run"))
        step_type = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Step"))
        state = metadata_store_pb2.Execution.CACHED if cached else metadata_store_pb2.Execution.COMPLETE
        node_type = store.put_context_type(metadata_store_pb2.ContextType(name="node"))
        for name, properties in artifacts.items():
            step, output = name.split(".")
            event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
            event.path.steps.add(key=output)
            kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name=output))
            artifact = metadata_store_pb2.Artifact(type_id=kind, uri=str(tmp_path / "artifact"))
            for key, value in properties.items():
                field = "int_value" if isinstance(value, int) else "string_value"
                setattr(artifact.custom_properties[key], field, value)
            store.put_execution(
                metadata_store_pb2.Execution(type_id=step_type, last_known_state=state),
                [(artifact, event)],
                [
                    metadata_store_pb2.Context(type_id=run_type, name=RUN),
                    metadata_store_pb2.Context(type_id=node_type, name=f"pets.{step}"),
                ],
                reuse_context_if_already_exist=True,
            )
        return outcome.read_outcome(store, RUN)

    return run
