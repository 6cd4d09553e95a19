"""The wiring: which step takes what from which, and what of the settings reaches it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tfx import v1 as tfx
from tfx.dsl.compiler.compiler import Compiler
from tfx.proto.orchestration import pipeline_pb2

from pipelines.pipeline import build
from pipelines.settings import Settings, load

STEPS = [
    "CuratedSchema",
    "ImageExampleGen",
    "StatisticsGen",
    "AcceptedData",
    "ExampleValidator",
    "DataGate",
    "Transform",
    "Trainer",
    "BlessedModel",
    "Evaluator",
    "ServingCheck",
    "Pusher",
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("output")
    return load(
        overrides=[
            f"output_root={root}",
            "data.class_names=[dog, cat]",
            "data.sample.seed=7",
            "data.max_bad_fraction=0.2",
            "data.max_class_shift=0.3",
            "training.image_size=96",
            "training.frozen.learning_rate=0.004",
            "evaluation.min_accuracy=0.7",
            "evaluation.max_accuracy_loss=0.05",
            "serving.check.pictures=9",
            "serving.check.max_difference=0.001",
            "serving.check.max_latency_ms=150",
            "serving.keep_versions=3",
            "beam.workers=3",
        ]
    )


@pytest.fixture(scope="module")
def pipeline(settings: Settings) -> tfx.dsl.Pipeline:
    return build(settings)


@pytest.fixture(scope="module")
def nodes(pipeline: tfx.dsl.Pipeline) -> dict[str, pipeline_pb2.PipelineNode]:
    compiled = Compiler().compile(pipeline)
    return {node.pipeline_node.node_info.id: node.pipeline_node for node in compiled.nodes}


def producers(node: pipeline_pb2.PipelineNode, name: str) -> list[tuple[str, str]]:
    """Returns the step and the output that an input comes from."""
    return [
        (channel.producer_node_query.id, channel.output_key) for channel in node.inputs.inputs[name].channels
    ]


def properties(pipeline: tfx.dsl.Pipeline, step: str) -> dict[str, Any]:
    [component] = [component for component in pipeline.components if component.id == step]
    found: dict[str, Any] = component.exec_properties
    return found


def test_the_steps_in_the_order_in_which_they_run(nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    assert list(nodes) == STEPS


def test_nothing_is_transformed_before_the_data_are_accepted(
    nodes: dict[str, pipeline_pb2.PipelineNode],
) -> None:
    assert "DataGate" in nodes["Transform"].upstream_nodes
    assert producers(nodes["DataGate"], "statistics") == [("StatisticsGen", "statistics")]
    assert producers(nodes["DataGate"], "anomalies") == [("ExampleValidator", "anomalies")]
    assert producers(nodes["DataGate"], "baseline_statistics") == [("AcceptedData", "subject")]


def test_the_model_is_trained_on_train_with_eval_to_watch(pipeline: tfx.dsl.Pipeline) -> None:
    trainer = properties(pipeline, "Trainer")
    assert json.loads(trainer["train_args"])["splits"] == ["train"]
    assert json.loads(trainer["eval_args"])["splits"] == ["eval"]


def test_only_what_judges_sees_the_test_split(
    pipeline: tfx.dsl.Pipeline, nodes: dict[str, pipeline_pb2.PipelineNode]
) -> None:
    splits = json.loads(properties(pipeline, "Transform")["splits_config"])
    assert splits == {"analyze": ["train"], "transform": ["train", "eval"]}
    assert producers(nodes["Trainer"], "examples") == [("Transform", "transformed_examples")]
    assert json.loads(properties(pipeline, "Evaluator")["example_splits"]) == ["test"]
    assert producers(nodes["Evaluator"], "examples") == [("ImageExampleGen", "examples")]
    readers = {name for name, node in nodes.items() if "ImageExampleGen" in node.upstream_nodes}
    assert readers == {"StatisticsGen", "Transform", "Evaluator", "ServingCheck", "Pusher"}
    assert producers(nodes["ServingCheck"], "examples") == [("ImageExampleGen", "examples")]


def test_the_model_is_judged_beside_the_blessed_one(nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    assert producers(nodes["Evaluator"], "model") == [("Trainer", "model")]
    assert producers(nodes["Evaluator"], "baseline_model") == [("BlessedModel", "subject")]
    assert list(nodes["BlessedModel"].upstream_nodes) == ["Trainer"]  # to leave the candidate itself out


def test_a_server_is_asked_after_the_evaluator(nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    assert producers(nodes["ServingCheck"], "model") == [("Trainer", "model")]
    assert "Evaluator" in nodes["ServingCheck"].upstream_nodes


def test_only_a_blessed_model_that_a_server_serves_is_pushed(
    nodes: dict[str, pipeline_pb2.PipelineNode], pipeline: tfx.dsl.Pipeline, settings: Settings
) -> None:
    assert producers(nodes["Pusher"], "model") == [("Trainer", "model")]
    assert producers(nodes["Pusher"], "model_blessing") == [("Evaluator", "blessing")]
    assert producers(nodes["Pusher"], "infra_blessing") == [("ServingCheck", "blessing")]
    pusher = properties(pipeline, "Pusher")
    assert pusher["destination"] == settings.serving_destination
    assert pusher["base_path"] == settings.serving_base_path
    assert pusher["model_name"] == settings.pipeline_name
    assert pusher["keep_versions"] == 3


def test_settings_reach_the_steps(pipeline: tfx.dsl.Pipeline, settings: Settings) -> None:
    ingest = properties(pipeline, "ImageExampleGen")
    assert json.loads(ingest["source"]) == {"kind": "sample", "count": 1000, "seed": 7}
    assert json.loads(ingest["class_names"]) == ["dog", "cat"]
    assert ingest["max_bad_fraction"] == 0.2
    assert json.loads(properties(pipeline, "CuratedSchema")["class_names"]) == ["dog", "cat"]
    assert properties(pipeline, "DataGate")["max_class_shift"] == 0.3
    assert json.loads(properties(pipeline, "Transform")["custom_config"])["image_size"] == 96
    training = json.loads(properties(pipeline, "Trainer")["custom_config"])
    assert training["recipe"] == settings.training.model_dump(mode="json")
    assert training["recipe"]["frozen"]["learning_rate"] == 0.004
    assert training["class_names"] == ["dog", "cat"]
    evaluation = properties(pipeline, "Evaluator")["eval_config"]
    assert "cat_probability" in evaluation
    assert "0.7" in evaluation
    assert "-0.05" in evaluation
    check = properties(pipeline, "ServingCheck")
    assert (check["pictures"], check["max_difference"], check["max_latency_ms"]) == (9, 0.001, 150.0)
    assert (check["model_name"], json.loads(check["class_names"])) == ("catsdogs", ["dog", "cat"])


def test_a_tolerated_shift_of_the_classes_makes_only_the_gate_judge_again(
    pipeline: tfx.dsl.Pipeline, settings: Settings
) -> None:
    data = settings.data.model_copy(update={"max_class_shift": 0.4})
    other = build(settings.model_copy(update={"data": data}))
    changed = {
        component.id
        for component in pipeline.components
        if component.exec_properties != properties(other, component.id)
    }
    assert changed == {"DataGate"}


def test_every_step_of_ours_notices_changed_code(pipeline: tfx.dsl.Pipeline) -> None:
    fingerprints = {
        step: properties(pipeline, step)["code_fingerprint"]
        for step in ("ImageExampleGen", "CuratedSchema", "DataGate", "ServingCheck")
    } | {
        step: json.loads(properties(pipeline, step)["custom_config"])["code_fingerprint"]
        for step in ("Transform", "Trainer")
    }
    assert all(len(fingerprint) == 64 for fingerprint in fingerprints.values())
    assert len(set(fingerprints.values())) == len(fingerprints)


def test_everything_lands_in_the_output_root(pipeline: tfx.dsl.Pipeline, settings: Settings) -> None:
    root = settings.output_root
    assert Path(pipeline.pipeline_info.pipeline_root) == root / "artifacts"
    assert pipeline.metadata_connection_config.sqlite.filename_uri == str(root / "metadata.sqlite")
    checkpoints = Path(json.loads(properties(pipeline, "Trainer")["custom_config"])["checkpoint_root"])
    assert checkpoints == settings.checkpoints_dir  # where `clean` looks for them
    assert pipeline.enable_cache


def test_beam_runs_here_with_the_wanted_threads(pipeline: tfx.dsl.Pipeline) -> None:
    assert "--runner=FnApiRunner" in pipeline.beam_pipeline_args  # not Prism, which would be downloaded
    assert "--direct_num_workers=3" in pipeline.beam_pipeline_args
