"""Real nodes by the real entry point: the gate on data, alone, and two nodes in one task."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME

from components.approvals.store import ApprovalStore
from components.curated_schema.component import load_schema
from tests.components.counted_examples import columns, statistics
from tests.pipelines.kubeflow.container.pod import Artifact, Cluster

pytestmark = pytest.mark.slow

SPLITS = ("train", "eval", "test")
GATE = ("--node", "DataGate", "--component", "components.data_gate.component.DataGate")


class Pod(Cluster):
    def counted(self, positives: float = 0.5) -> Artifact:
        """What StatisticsGen would have put out for images of which so many are dogs."""
        contents = statistics(columns(60, positives)).SerializeToString()
        files = {f"Split-{split}/FeatureStats.pb": contents for split in SPLITS}
        return self.put("statistics", files, {"split_names": json.dumps(SPLITS), "span": 0})

    def run(
        self,
        inputs: dict[str, Artifact],
        outputs: dict[str, str],
        parameters: dict[str, Any],
        *nodes: str,
    ) -> tuple[int, str, dict[str, Artifact]]:
        """Returns the exit status, the log, and what the launcher records."""
        message = self.message("step", outputs, inputs, parameters)
        done = self.start(message, *nodes)
        recorded = self.outputs(message) if done.returncode == 0 else {}
        return done.returncode, done.stderr, recorded


@pytest.fixture
def pod(tmp_path: Any) -> Pod:
    return Pod(tmp_path)


def test_the_gate_remembers_what_it_accepted(pod: Pod) -> None:
    schema = pod.put(
        "schema", {"schema.pbtxt": text_format.MessageToString(load_schema(["cat", "dog"])).encode()}
    )
    anomalies = pod.put(
        "anomalies",
        {
            f"Split-{split}/{DEFAULT_FILE_NAME}": anomalies_pb2.Anomalies().SerializeToString()
            for split in SPLITS
        },
        {"split_names": json.dumps(SPLITS)},
    )
    outputs = {"verdict": "catsdogs.DataVerdict"}
    parameters = {"source": "folder /data", "max_class_shift": 0.1, "accepted_data": "none", "run_key": "K"}

    # The first run, which has nothing to compare with.
    first = pod.counted()
    inputs = {"statistics": first, "schema": schema, "anomalies": anomalies}
    status, log, recorded = pod.run(inputs, outputs, parameters, *GATE)
    assert status == 0, log
    verdict = recorded["verdict"]
    assert verdict.metadata["blessed"] == 1
    assert json.loads((pod.local(verdict.uri) / "verdict.json").read_text())["compared_with"] is None
    approval = ApprovalStore(pod.state / "accepted-data").newest(where={"source": "folder /data"})
    assert approval is not None
    assert (approval.uri, approval.run_key) == (first.uri, "K")

    # The second run, on other data.
    inputs["statistics"] = pod.counted(positives=0.8)
    status, log, _ = pod.run(inputs, outputs, parameters, *GATE)
    assert status == 4, log
    assert first.uri in log
    assert ApprovalStore(pod.state / "accepted-data").newest() == approval


def test_a_task_runs_nodes_that_consume_each_other_s_outputs(pod: Pod) -> None:
    status, log, recorded = pod.run(
        {"statistics": pod.counted()},
        {"schema": "tfx.Schema", "anomalies": "tfx.ExampleAnomalies"},
        {},
        *("--node", "CuratedSchema", "--component", "components.curated_schema.component.CuratedSchema"),
        *("--inputs", "", "--parameters", json.dumps({"class_names": '["cat", "dog"]'})),
        *("--node", "ExampleValidator", "--inputs", "statistics,schema"),
        *("--component", "tfx.components.example_validator.component.ExampleValidator"),
        *("--parameters", json.dumps({"exclude_splits": "[]"})),
    )
    assert status == 0, log
    assert (pod.local(recorded["schema"].uri) / "schema.pbtxt").exists()
    assert json.loads(recorded["anomalies"].metadata["split_names"]) == list(SPLITS)
    for split in SPLITS:
        assert (pod.local(recorded["anomalies"].uri) / f"Split-{split}" / DEFAULT_FILE_NAME).exists()
