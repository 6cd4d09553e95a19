from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.components.evaluator import constants
from tfx.types import Artifact, standard_artifacts

from components import integrity
from components.approvals.newest_approved import NewestApproved

Model, ModelBlessing = standard_artifacts.Model, standard_artifacts.ModelBlessing
MODEL_ID = constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY
Event = metadata_store_pb2.Event


class Past:
    """A real, empty metadata store, and models trained and judged in it."""

    def __init__(self, folder: Path) -> None:
        config = metadata_store_pb2.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store = mlmd.MetadataStore(config)
        self._folder = folder
        self._execution_type = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="Step"))
        self.models: list[Artifact] = []
        self.blessings: list[Artifact] = []

    def train(self) -> Artifact:
        model = Model()
        folder = self._folder / str(len(self.models))
        folder.mkdir()
        model.uri = str(folder)
        self.models.append(self._put(model))
        return model

    def judge(self, model: Artifact, blessed: bool = True) -> Artifact:
        """Does what Evaluator does with a blessing."""
        blessing = ModelBlessing()
        blessing.set_int_custom_property(MODEL_ID, model.id)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(blessed))
        self.blessings.append(self._put(blessing))
        self.output(blessing)
        return blessing

    def output(self, artifact: Artifact, kind: int = Event.OUTPUT) -> None:
        """One more execution that outputs the artifact, as a cached step's does."""
        execution = metadata_store_pb2.Execution(type_id=self._execution_type)
        [execution_id] = self.store.put_executions([execution])
        self.store.put_events([Event(artifact_id=artifact.id, execution_id=execution_id, type=kind)])

    def resolve(self, candidate: Artifact, **options: Any) -> list[int]:
        resolved = NewestApproved(MODEL_ID, **options).resolve_artifacts(
            self.store, {"candidate": [candidate], "subject": self.models, "approval": self.blessings}
        )
        assert resolved["candidate"] == [candidate]
        assert len(resolved["subject"]) == len(resolved["approval"])
        for model, blessing in zip(resolved["subject"], resolved["approval"], strict=True):
            assert blessing.get_int_custom_property(MODEL_ID) == model.id
        return [model.id for model in resolved["subject"]]

    def _put(self, artifact: Artifact) -> Artifact:
        proto = artifact.mlmd_artifact
        proto.type_id = self.store.put_artifact_type(artifact.artifact_type)
        [artifact.id] = self.store.put_artifacts([proto])
        return artifact


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path)


def test_nothing_on_the_first_run(past: Past) -> None:
    assert past.resolve(past.train()) == []


def test_the_candidate_is_never_compared_with_itself(past: Past) -> None:
    model = past.train()
    past.judge(model)
    assert past.resolve(model) == []


def test_the_newest_blessed_one(past: Past) -> None:
    first, second, refused, candidate = (past.train() for _ in range(4))
    past.judge(first)
    past.judge(second)
    past.judge(refused, blessed=False)
    assert past.resolve(candidate) == [second.id]


def test_an_unjudged_model_is_no_baseline(past: Past) -> None:
    past.train()
    assert past.resolve(past.train()) == []


def test_repeating_a_run_resolves_to_the_same(past: Past) -> None:
    first, second = past.train(), past.train()
    past.judge(first)
    before = past.resolve(second)
    blessing = past.judge(second)
    assert past.resolve(second) == before == [first.id]
    past.output(blessing)  # the repeated run, with a cached Evaluator
    assert past.resolve(second) == before


def test_going_back_to_earlier_settings(past: Past) -> None:
    first, second, third = past.train(), past.train(), past.train()
    first_blessing = past.judge(first)
    past.judge(second)
    assert past.resolve(first) == [second.id]
    past.output(first_blessing)  # found in the cache: the first model is what was approved last
    assert past.resolve(third) == [first.id]


def test_what_a_resolver_hands_on_is_not_approved_anew(past: Past) -> None:
    first, second, third = past.train(), past.train(), past.train()
    first_blessing = past.judge(first)
    past.judge(second)
    past.output(first_blessing, Event.INTERNAL_OUTPUT)
    assert past.resolve(third) == [second.id]


def test_deleted_files_are_passed_over_and_logged(past: Past, caplog: pytest.LogCaptureFixture) -> None:
    first, second, candidate = past.train(), past.train(), past.train()
    past.judge(first)
    past.judge(second)
    Path(second.uri).rmdir()
    with caplog.at_level(logging.WARNING):
        assert past.resolve(candidate) == [first.id]
    assert second.uri in caplog.text
    Path(first.uri).rmdir()
    assert past.resolve(candidate) == []


def test_damaged_files_are_passed_over_as_deleted_ones_are(past: Past) -> None:
    first, second, candidate = past.train(), past.train(), past.train()
    for model in (first, second):
        (Path(model.uri) / "variables").write_text("as trained")
        integrity.record_files(model.mlmd_artifact)
        past.judge(model)
    assert past.resolve(candidate) == [second.id]
    (Path(second.uri) / "variables").write_text("as Trained")
    assert past.resolve(candidate) == [first.id]
    assert past.resolve(candidate, include_missing=True) == [second.id]


def test_deleted_files_are_handed_on_where_that_is_wanted(past: Past) -> None:
    first, second, candidate = past.train(), past.train(), past.train()
    past.judge(first)
    past.judge(second)
    Path(second.uri).rmdir()
    assert past.resolve(candidate, include_missing=True) == [second.id]
    assert past.resolve(second, include_missing=True) == [first.id]


def test_only_approvals_with_the_wanted_properties_count(past: Past) -> None:
    model, candidate = past.train(), past.train()
    blessing = past.judge(model)
    wanted = {"candidate": [candidate], "subject": past.models, "approval": past.blessings}
    strategy = NewestApproved(MODEL_ID, where={"source": "sample"})

    assert strategy.resolve_artifacts(past.store, dict(wanted))["subject"] == []
    blessing.set_string_custom_property("source", "sample")
    assert strategy.resolve_artifacts(past.store, dict(wanted))["subject"] == [model]
