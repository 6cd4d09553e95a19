"""Which baseline a run has, and that its parameter changes before KFP asks the cache."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.components.common import resolver
from tfx.types import Channel
from tfx.types.standard_artifacts import ExampleStatistics, Model

from components.approvals.store import Approval, ApprovalStore
from components.errors import PipelineError
from pipelines import baseline_nodes
from pipelines.kubeflow.container import baselines
from pipelines.kubeflow.container.baselines import BASELINES
from pipelines.kubeflow.container.executor_input import normalize_executor_input
from pipelines.kubeflow.container.paths import Paths
from tests.pipelines.kubeflow.container.pod import Artifact, Cluster

ACCEPTED_DATA, BLESSED_MODEL, BEST_MODEL = BASELINES


class Store(Cluster):
    """A cluster whose runs produce models and statistics, and approve them."""

    def candidate(self, contents: str) -> Artifact:
        return self.put("candidate", {"file": contents.encode()}, {"split_names": "[]", "steps": 3})

    def inputs(self, contents: str, source: str = "sample") -> dict[str, Any]:
        candidate = self.candidate(contents)
        given = {"statistics": candidate, "model": candidate}
        message = normalize_executor_input(self.message("t", {}, given, {"source": source, "run_key": "K"}))
        inputs: dict[str, Any] = message["inputs"]
        return inputs

    def approve(self, contents: str, run_key: str = "", source: str = "sample", best: str = "no") -> Approval:
        candidate = self.candidate(contents)
        stores = [ApprovalStore(self.state / kind.store) for kind in baselines.KINDS]
        for store, properties in zip(stores, ({"source": source}, {"best": best}), strict=True):
            approval = store.record(
                self.local(candidate.uri), candidate.uri, candidate.metadata, properties, run_key
            )
        return approval

    def baseline(self, contents: str, source: str = "sample") -> dict[str, Any]:
        """Returns what the nodes that compare find: the artifact by the name of its baseline."""
        found = {}
        for node in ("DataGate", "PredictionTable"):
            inputs = self.inputs(contents, source)
            baselines.add_baselines(node, inputs, self.state, Paths(self.folder))
            for baseline in BASELINES:
                if baseline.node == node and baseline.input in inputs["artifacts"]:
                    [found[baseline.name]] = inputs["artifacts"][baseline.input]["artifacts"]
        return found

    def contents(self, contents: str, source: str = "sample") -> dict[str, str]:
        return {
            name: (Path(artifact["uri"]) / "file").read_text()
            for name, artifact in self.baseline(contents, source).items()
        }

    def parameter(self, run_key: str, baseline: baselines.Baseline = BLESSED_MODEL) -> str:
        return baselines.cache_parameter(baseline, self.state, "sample", run_key)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_they_are_those_of_tfx_s_resolvers() -> None:
    nodes = {
        "accepted_data": baseline_nodes.accepted_data(Channel(type=ExampleStatistics), "sample"),
        "blessed_model": baseline_nodes.blessed_model(Channel(type=Model)),
        "best_model": baseline_nodes.best_model(Channel(type=Model)),
    }
    for baseline in BASELINES:
        config = nodes[baseline.name].exec_properties[resolver.RESOLVER_CONFIG]
        assert config["where"] == baseline.where("sample")
        assert config["include_missing"] == baseline.include_missing


class TestTheBaseline:
    def test_the_first_run_has_none(self, store: Store) -> None:
        assert store.baseline("A") == {}

    def test_it_is_the_newest_other_than_the_candidate_whatever_the_key(self, store: Store) -> None:
        store.approve("A", "K", best="yes")
        store.approve("B", "K")
        assert store.contents("C") == {"accepted_data": "B", "blessed_model": "B", "best_model": "A"}
        assert store.contents("B") == {"accepted_data": "A", "blessed_model": "A", "best_model": "A"}
        assert store.contents("A") == {"accepted_data": "B", "blessed_model": "B"}

    def test_data_are_compared_with_data_of_the_same_source(self, store: Store) -> None:
        store.approve("A", source="folder /a=b")
        assert "accepted_data" not in store.contents("B")
        assert store.contents("B", "folder /a=b")["accepted_data"] == "A"

    def test_it_has_the_properties_of_the_approved_one(self, store: Store) -> None:
        approval = store.approve("A")
        artifact = store.baseline("B")["blessed_model"]
        assert artifact["metadata"] == {"split_names": "[]", "steps": 3, "approved_uri": approval.uri}

    def test_missing_files_are_reported_of_a_model_and_an_error_of_data(self, store: Store) -> None:
        approval = store.approve("A", best="yes")
        data = ApprovalStore(store.state / "accepted-data").newest()
        assert data is not None
        shutil.rmtree(approval.files)
        for name in ("blessed_model", "best_model"):
            assert approval.id in store.baseline("B")[name]["metadata"]["unreadable"]
        shutil.rmtree(data.files)
        with pytest.raises(PipelineError, match=data.id):
            store.baseline("B")


class TestTheParameter:
    """The cases of docs/decisions/014: same means cached, different means executed."""

    def test_the_same_run_again_is_cached(self, store: Store) -> None:
        for baseline in BASELINES:
            before = store.parameter("K", baseline)
            store.approve("A", "K", best="yes")
            assert store.parameter("K", baseline) == before

    def test_another_run_in_between_is_not(self, store: Store) -> None:
        before = store.parameter("K1")
        store.approve("A", "K1")
        store.approve("B", "K2")
        changed = store.parameter("K1")
        assert changed != before
        store.approve("A", "K1")
        assert store.parameter("K1") == changed

    def test_approving_the_same_artifact_again_changes_nothing_for_others(self, store: Store) -> None:
        store.approve("A", "K1")
        store.approve("B", "K2")
        before = store.parameter("K2")
        store.approve("A", "K1")
        assert store.parameter("K2") == before

    def test_a_model_trained_again_without_the_cache_is_the_baseline_of_the_first(self, store: Store) -> None:
        before = store.parameter("K")
        store.approve("A", "K")
        store.approve("A, trained again", "K")
        assert store.contents("A")["blessed_model"] == "A, trained again"
        assert store.parameter("K") != before

    def test_the_candidate_may_have_been_approved_by_a_run_with_another_key(self, store: Store) -> None:
        store.approve("X", "K1")
        store.approve("A", "K2")
        before = store.parameter("K3")  # of a run whose model is A, too
        store.approve("Y", "K1")
        store.approve("A", "K2")
        assert store.contents("A")["blessed_model"] == "Y"
        assert store.parameter("K3") != before

    def test_approvals_without_a_key_are_of_another_run(self, store: Store) -> None:
        before = store.parameter("K")
        approval = store.approve("A")
        file = Path(approval.files).with_name("approval.json")
        earlier = json.loads(file.read_text())
        del earlier["run_key"]
        file.write_text(json.dumps(earlier))
        assert ApprovalStore(store.state / "blessed-model").newest() == replace(approval, run_key="")
        assert store.parameter("K") != before

    @pytest.mark.parametrize(("baseline", "changes"), [(BLESSED_MODEL, True), (ACCEPTED_DATA, False)])
    def test_files_that_go_count_where_they_are_reported(
        self, store: Store, baseline: baselines.Baseline, changes: bool
    ) -> None:
        store.approve("A", "K1", best="yes")
        before = store.parameter("K2", baseline)
        newest = ApprovalStore(store.state / baseline.kind.store).newest()
        assert newest is not None
        shutil.rmtree(newest.files)
        assert (store.parameter("K2", baseline) != before) is changes


class TestRecording:
    def record(self, store: Store, metadata: dict[str, Any], node: str = "DataGate") -> Approval | None:
        """Does what follows on a node whose output has these properties."""
        outputs = {"verdict": {"artifacts": [{"metadata": metadata}]}}
        baselines.record_approval(node, store.inputs("A"), outputs, store.state, Paths(store.folder))
        return ApprovalStore(store.state / "accepted-data").newest()

    def test_what_a_node_approves_is_recorded_with_its_key(self, store: Store) -> None:
        approval = self.record(store, {"blessed": 1.0, "source": "sample"})
        assert approval is not None
        assert (approval.properties, approval.run_key) == ({"source": "sample"}, "K")
        assert approval.metadata == {"split_names": "[]", "steps": 3.0}  # without what the launcher adds
        assert (Path(approval.files) / "file").read_text() == "A"
        assert self.record(store, {"blessed": 1.0, "source": "sample"}) == approval

    @pytest.mark.parametrize(
        ("metadata", "node"),
        [({"blessed": 0.0}, "DataGate"), ({}, "DataGate"), ({"blessed": 1.0}, "Trainer")],
    )
    def test_what_was_not_approved_is_not_recorded(
        self, store: Store, metadata: dict[str, Any], node: str
    ) -> None:
        assert self.record(store, metadata, node) is None

    def test_an_approval_that_cannot_be_recorded_fails_the_task(self, store: Store) -> None:
        store.state.write_text("a file in the way")
        with pytest.raises(PipelineError):
            self.record(store, {"blessed": 1.0})
