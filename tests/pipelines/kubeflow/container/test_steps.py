"""Real steps by the real entry point: the gate on data, with what was accepted before and without."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, text_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.context_managers.dsl_context_registry import DslContextRegistry
from tfx.orchestration.kubeflow.v2.step_builder import StepBuilder
from tfx.types import artifact as tfx_artifact
from tfx.types import standard_artifacts
from tfx.types.channel import Channel

from components.approvals.component import ApprovedBaseline
from components.approvals.store import Approval, ApprovalStore
from components.curated_schema.component import load_schema
from components.data_gate.component import DataGate
from tests.components.counted_examples import columns, statistics
from tests.pipelines.kubeflow.container.pod import Artifact, Cluster

pytestmark = pytest.mark.slow

SPLITS = ("train", "eval", "test")


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def counted(cluster: Cluster, positives: float = 0.5) -> Artifact:
    """What StatisticsGen would have put out for images of which so many are dogs."""
    contents = statistics(columns(60, positives)).SerializeToString()
    files = {f"Split-{split}/FeatureStats.pb": contents for split in SPLITS}
    return cluster.put("statistics", files, {"split_names": json.dumps(SPLITS), "span": 0})


def channel_of(kind: type[tfx_artifact.Artifact]) -> Channel:
    return Channel(type=kind, producer_component_id="Before", output_key="output")


class Step:
    """A component as it is compiled, run in a pod of its own.

    Args:
        cluster: Where.
        component: The component, with an id.
    """

    def __init__(self, cluster: Cluster, component: BaseComponent) -> None:
        deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
        definitions: dict[str, Any] = {}
        registry = DslContextRegistry()
        registry.put_node(component)
        tasks = StepBuilder(
            component,
            deployment,
            definitions,
            registry,
            image="image",
            use_pipeline_spec_2_1=True,
        ).build()
        self._cluster = cluster
        self._task = json_format.MessageToDict(tasks[component.id])
        self._definition = json_format.MessageToDict(definitions[component.id])
        [executor] = deployment.executors.values()
        self._executor = executor.container.args[1]

    def run(self, inputs: Mapping[str, Artifact], *arguments: str) -> tuple[int, str, dict[str, Artifact]]:
        """Returns the exit status, the last line of the log, and what the launcher records."""
        message = self._cluster.message(
            "step",
            {
                name: output["artifactType"]["instanceSchema"]
                for name, output in self._definition["outputDefinitions"]["artifacts"].items()
            },
            inputs,
            {
                name: parameter["runtimeValue"]["constant"]
                for name, parameter in self._task["inputs"]["parameters"].items()
            },
        )
        done = self._cluster.start(self._executor, message, self._definition["inputDefinitions"], *arguments)
        recorded = self._cluster.outputs(message) if done.returncode == 0 else {}
        return done.returncode, done.stderr.splitlines()[-1], recorded


def test_the_gate_remembers_what_it_accepted(cluster: Cluster) -> None:
    schema = cluster.put(
        "schema", {"schema.pbtxt": text_format.MessageToString(load_schema(["cat", "dog"])).encode()}
    )
    anomalies = cluster.put(
        "anomalies",
        {
            f"Split-{split}/{DEFAULT_FILE_NAME}": anomalies_pb2.Anomalies().SerializeToString()
            for split in SPLITS
        },
        {"split_names": json.dumps(SPLITS)},
    )
    channel = channel_of(standard_artifacts.ExampleStatistics)
    baseline = Step(cluster, ApprovedBaseline(channel).with_id("AcceptedData"))
    gate = Step(
        cluster,
        DataGate(
            channel,
            channel_of(standard_artifacts.Schema),
            channel_of(standard_artifacts.ExampleAnomalies),
            "folder /data",
            0.1,
            baseline_statistics=channel_of(standard_artifacts.ExampleStatistics),
        ),
    )
    approves = ("--approvals", str(cluster.state), "--approves", "statistics:accepted-data")

    # The first run, which has nothing to compare with.
    first = counted(cluster)
    status, log, outputs = baseline.run({"candidate": first})
    assert status == 0, log
    absent = outputs["subject"]
    assert absent.metadata["absent"] == 1
    assert not list(cluster.local(absent.uri).rglob("*"))
    inputs = {"statistics": first, "schema": schema, "anomalies": anomalies, "baseline_statistics": absent}
    status, log, outputs = gate.run(inputs, *approves)
    assert status == 0, log
    verdict = outputs["verdict"]
    assert verdict.metadata["blessed"] == 1
    assert json.loads((cluster.local(verdict.uri) / "verdict.json").read_text())["compared_with"] is None
    approval = ApprovalStore(cluster.state / "accepted-data").newest(where={"source": "folder /data"})
    assert approval is not None
    assert approval.uri == first.uri

    # The second run, on other data.
    second = counted(cluster, positives=0.8)
    given = Step(cluster, ApprovedBaseline(channel, approval.text()).with_id("AcceptedData"))
    status, log, outputs = given.run({"candidate": second})
    assert status == 0, log
    before = outputs["subject"]
    assert before.metadata["approved_in"] == approval.id
    assert before.metadata["approved_uri"] == first.uri
    assert before.metadata["split_names"] == first.metadata["split_names"]
    assert "absent" not in before.metadata
    status, _, _ = gate.run({**inputs, "statistics": second, "baseline_statistics": before}, *approves)
    assert status == 4
    assert ApprovalStore(cluster.state / "accepted-data").newest() == approval


def test_an_approval_whose_files_are_known_to_be_gone(cluster: Cluster) -> None:
    approval = Approval("2026", "minio://b/s", "0", {"quality": "good"}, {"best": "yes"}, "")
    step = Step(
        cluster, ApprovedBaseline(channel_of(standard_artifacts.Model), approval.text()).with_id("BestModel")
    )
    candidate = cluster.put("model", {"saved_model.pb": b"model"})
    status, log, outputs = step.run({"candidate": candidate})
    assert status == 0, log
    subject = outputs["subject"]
    assert "2026" in subject.metadata["unreadable"]
    assert (subject.metadata["approved_in"], subject.metadata["approved_uri"]) == ("2026", "minio://b/s")
    assert "absent" not in subject.metadata
    assert not list(cluster.local(subject.uri).rglob("*"))


def test_an_approval_whose_files_went_since(cluster: Cluster) -> None:
    approval = Approval("2026", "minio://b/s", "0", {}, {}, str(cluster.state / "gone" / "files"))
    channel = channel_of(standard_artifacts.Model)
    step = Step(cluster, ApprovedBaseline(channel, approval.text()).with_id("BlessedModel"))
    status, log, _ = step.run({"candidate": cluster.put("model", {"saved_model.pb": b"model"})})
    assert status == 1
    assert f"{cluster.state}/gone/files" in log
