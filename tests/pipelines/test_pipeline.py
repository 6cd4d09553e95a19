"""The wiring: which step takes what from which, and what of the settings reaches it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tfx import v1 as tfx
from tfx.dsl.compiler.compiler import Compiler
from tfx.proto.orchestration import pipeline_pb2

from components.quality_gate.limits import GateLimits
from components.serving_check.config import ServingCheckConfig
from pipelines import baseline_nodes
from pipelines.pipeline import build
from pipelines.settings.loading import dump, load
from pipelines.settings.tree import Settings

OVERRIDE = '{"reason": "The old one is of another camera.", "by": "ada"}'


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("output")
    return load(
        overrides=[
            f"output_root={root}",
            "data.class_names=[dog, cat]",
            "data.sample.seed=7",
            "data.max_rejected_fraction=0.2",
            "data.max_class_shift=0.3",
            "training.image_size=96",
            "training.frozen.learning_rate=0.004",
            "evaluation.min_accuracy=0.7",
            "evaluation.max_accuracy_loss=0.05",
            "evaluation.perturbed_images=11",
            "serving.check.images=9",
            "serving.check.max_difference=0.001",
            "serving.check.max_latency_ms=150",
            "serving.keep_versions=3",
            "serving.max_pixels=60000000",
            "beam.workers=3",
        ]
    )


@pytest.fixture(scope="module")
def pipeline(settings: Settings) -> tfx.dsl.Pipeline:
    return build(settings, override=OVERRIDE)


@pytest.fixture(scope="module")
def nodes(pipeline: tfx.dsl.Pipeline) -> dict[str, pipeline_pb2.PipelineNode]:
    compiled = Compiler().compile(pipeline)
    return {node.pipeline_node.node_info.id: node.pipeline_node for node in compiled.nodes}


def producer(node: pipeline_pb2.PipelineNode, name: str) -> str:
    """Returns the one `Step.output` that an input comes from."""
    [channel] = node.inputs.inputs[name].channels
    return f"{channel.producer_node_query.id}.{channel.output_key}"


def properties(pipeline: tfx.dsl.Pipeline, step: str) -> dict[str, Any]:
    [component] = [component for component in pipeline.components if component.id == step]
    found: dict[str, Any] = component.exec_properties
    return found


@pytest.mark.slow
def test_what_no_step_needs_is_not_imported() -> None:
    script = "import sys, pipelines.pipeline; sys.exit('google.cloud.aiplatform' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("step", "inputs"),
    [  # those that another output of the same type could be taken for
        (
            "DataGate",
            {
                "statistics": "StatisticsGen.statistics",
                "anomalies": "ExampleValidator.anomalies",
                "baseline_statistics": "AcceptedData.subject",
            },
        ),
        ("Trainer", {"examples": "Transform.transformed_examples"}),
        (
            "PredictionTable",
            {"model": "Trainer.model", "newest": "BlessedModel.subject", "best": "BestModel.subject"},
        ),
        ("Evaluator", {"examples": "PredictionTable.predictions"}),
        ("ServingCheck", {"model": "Trainer.model"}),
        (
            "QualityGate",
            {
                "model": "Trainer.model",
                "predictions": "PredictionTable.predictions",
                "evaluation": "Evaluator.evaluation",
                "serving_check": "ServingCheck.blessing",
            },
        ),
        (
            "EvaluationReport",
            {
                "model": "Trainer.model",
                "predictions": "PredictionTable.predictions",
                "model_run": "Trainer.model_run",
                "evaluation": "Evaluator.evaluation",
                "serving_check": "ServingCheck.blessing",
                "blessing": "QualityGate.blessing",
                "statistics": "StatisticsGen.statistics",
                "rejected": "ImageExampleGen.rejected",
                "data_verdict": "DataGate.verdict",
            },
        ),
        (
            "Pusher",
            {
                "model": "Trainer.model",
                "model_blessing": "QualityGate.blessing",
                "infra_blessing": "ServingCheck.blessing",
            },
        ),
    ],
)
def test_what_a_step_reads(
    nodes: dict[str, pipeline_pb2.PipelineNode], step: str, inputs: dict[str, str]
) -> None:
    assert {name: producer(nodes[step], name) for name in inputs} == inputs


@pytest.mark.parametrize(
    ("step", "after"),
    [
        ("Transform", "DataGate"),  # nothing is transformed before the data are accepted
        ("ServingCheck", "Evaluator"),
        ("Pusher", "EvaluationReport"),
    ],
)
def test_a_step_waits_for_one_that_it_reads_nothing_from(
    nodes: dict[str, pipeline_pb2.PipelineNode], step: str, after: str
) -> None:
    assert after in nodes[step].upstream_nodes


def test_the_model_is_trained_on_train_with_eval_to_watch(pipeline: tfx.dsl.Pipeline) -> None:
    trainer = properties(pipeline, "Trainer")
    assert json.loads(trainer["train_args"])["splits"] == ["train"]
    assert json.loads(trainer["eval_args"])["splits"] == ["eval"]


def test_only_what_judges_sees_the_test_split(
    pipeline: tfx.dsl.Pipeline, nodes: dict[str, pipeline_pb2.PipelineNode]
) -> None:
    splits = json.loads(properties(pipeline, "Transform")["splits_config"])
    assert splits == {"analyze": ["train"], "transform": ["train", "eval"]}
    assert json.loads(properties(pipeline, "Evaluator")["example_splits"]) == ["test"]
    readers = {name for name, node in nodes.items() if "ImageExampleGen" in node.upstream_nodes}
    judges = {"PredictionTable", "ServingCheck", "EvaluationReport"}
    assert readers == {"StatisticsGen", "Transform", *judges, "Pusher"}
    for judge in judges:
        assert producer(nodes[judge], "examples") == "ImageExampleGen.examples"


def test_a_lookup_leaves_the_candidate_itself_out(nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    for lookup in ("BlessedModel", "BestModel"):
        assert list(nodes[lookup].upstream_nodes) == ["Trainer"]


def test_the_best_model_is_one_of_the_blessed_and_both_count_also_where_they_are_gone() -> None:
    model = tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model)
    best, blessed = baseline_nodes.best_model(model), baseline_nodes.blessed_model(model)
    assert (best.where, blessed.where) == ({"best": "yes"}, {})
    assert best.include_missing
    assert blessed.include_missing
    statistics = tfx.dsl.Channel(type=tfx.types.standard_artifacts.ExampleStatistics)
    assert not baseline_nodes.accepted_data(statistics, "sample").include_missing


def test_settings_reach_the_steps(pipeline: tfx.dsl.Pipeline, settings: Settings) -> None:
    ingest = properties(pipeline, "ImageExampleGen")
    assert json.loads(ingest["source"]) == {"kind": "sample", "count": 1000, "seed": 7}
    assert json.loads(ingest["class_names"]) == ["dog", "cat"]
    assert ingest["max_rejected_fraction"] == 0.2
    assert json.loads(properties(pipeline, "CuratedSchema")["class_names"]) == ["dog", "cat"]
    assert properties(pipeline, "DataGate")["max_class_shift"] == 0.3
    assert json.loads(properties(pipeline, "Transform")["custom_config"])["image_size"] == 96
    training = json.loads(properties(pipeline, "Trainer")["custom_config"])
    assert training["training_config"] == settings.training.model_dump(mode="json")
    assert training["training_config"]["frozen"]["learning_rate"] == 0.004
    assert training["class_names"] == ["dog", "cat"]
    assert training["max_pixels"] == 60_000_000
    assert properties(pipeline, "PredictionTable")["perturbed_images"] == 11
    gate = properties(pipeline, "QualityGate")
    assert GateLimits.model_validate_json(gate["limits"]) == settings.evaluation
    assert gate["override"] == OVERRIDE
    assert properties(pipeline, "EvaluationReport")["settings"] == dump(
        settings, without=["beam", "kubeflow"]
    )
    pusher = properties(pipeline, "Pusher")
    assert pusher["destination"] == settings.serving_destination
    assert pusher["base_path"] == settings.serving_base_path
    assert pusher["model_name"] == settings.pipeline_name
    assert pusher["keep_versions"] == 3
    check = properties(pipeline, "ServingCheck")
    assert ServingCheckConfig.model_validate_json(check["config"]) == settings.serving.check
    assert (check["model_name"], json.loads(check["class_names"])) == ("catsdogs", ["dog", "cat"])


@pytest.mark.parametrize(
    ("section", "change", "gate"),
    [("data", {"max_class_shift": 0.4}, "DataGate"), ("evaluation", {"min_accuracy": 0.8}, "QualityGate")],
)
def test_other_limits_make_only_the_gate_judge_again(
    pipeline: tfx.dsl.Pipeline, settings: Settings, section: str, change: dict[str, float], gate: str
) -> None:
    limits = getattr(settings, section).model_copy(update=change)
    other = build(settings.model_copy(update={section: limits}), override=OVERRIDE)
    changed = {
        component.id
        for component in pipeline.components
        if component.exec_properties != properties(other, component.id)
    }
    assert changed == {gate, "EvaluationReport"}


def test_every_step_of_ours_notices_changed_code(pipeline: tfx.dsl.Pipeline) -> None:
    fingerprints = {
        step: properties(pipeline, step)["code_fingerprint"]
        for step in (
            *("ImageExampleGen", "CuratedSchema", "DataGate", "PredictionTable", "ServingCheck"),
            *("QualityGate", "EvaluationReport"),
        )
    } | {
        step: json.loads(properties(pipeline, step)["custom_config"])["code_fingerprint"]
        for step in ("Transform", "Trainer")
    }
    assert all(re.fullmatch("[0-9a-f]{64,}", fingerprint) for fingerprint in fingerprints.values())
    assert len(set(fingerprints.values())) == len(fingerprints)


def test_everything_lands_in_the_output_root(pipeline: tfx.dsl.Pipeline, settings: Settings) -> None:
    root = settings.output_root
    assert Path(pipeline.pipeline_info.pipeline_root) == root / "artifacts"
    assert pipeline.metadata_connection_config.sqlite.filename_uri == str(root / "metadata.sqlite")
    checkpoints = Path(json.loads(properties(pipeline, "Trainer")["custom_config"])["checkpoint_root"])
    assert checkpoints == settings.checkpoints_dir  # where `clean` looks for them
    assert pipeline.enable_cache


def beam_arguments(pipeline: tfx.dsl.Pipeline, step: str) -> list[str]:
    [node] = [node for node in pipeline.components if node.id == step]
    return list(node.executor_spec.beam_pipeline_args)


def test_beam_runs_here_with_the_configured_threads(pipeline: tfx.dsl.Pipeline) -> None:
    # Beam would choose and download Prism.
    for step in ("ImageExampleGen", "StatisticsGen", "Transform", "PredictionTable", "Evaluator"):
        assert "--runner=FnApiRunner" in beam_arguments(pipeline, step)
    assert "--direct_num_workers=3" in beam_arguments(pipeline, "Transform")


def test_only_the_steps_of_the_settings_run_on_the_cluster() -> None:
    overrides = ["beam.runner=flink", "beam.flink.master=flink:8081", "beam.cluster_steps=[Transform]"]
    pipeline = build(load(overrides=overrides))
    assert "--flink_master=flink:8081" in beam_arguments(pipeline, "Transform")
    assert "--runner=FnApiRunner" in beam_arguments(pipeline, "ImageExampleGen")
