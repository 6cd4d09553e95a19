"""The whole pipeline, top to bottom."""

from __future__ import annotations

from tfx.components import Evaluator, ExampleValidator, StatisticsGen, Trainer
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline

from components.curated_schema.component import CuratedSchema
from components.data_gate.component import DataGate
from components.evaluation_report.component import EvaluationReport
from components.image_example_gen.component import ImageExampleGen
from components.image_transform.component import ImageTransform
from components.model_pusher.component import ModelPusher
from components.prediction_table.component import PredictionTable
from components.quality_gate.component import QualityGate
from components.serving_check.component import ServingCheck
from components.statistics import statistics_options
from pipelines import baseline_nodes, node_configs
from pipelines.eval_config import eval_config
from pipelines.settings.loading import dump
from pipelines.settings.tree import Settings


def build(
    settings: Settings,
    newest_approved: baseline_nodes.MakeBaselineNode = baseline_nodes.resolver_node,
    override: str = "",
) -> Pipeline:
    """Builds the pipeline; each component is documented in its own module.

    Args:
        settings: The settings of the run.
        newest_approved: Creates the nodes that resolve the accepted data and the blessed models.
        override: A person's decision to bless the model, as JSON; empty lets the gate's rules decide.
    """
    data, class_names = settings.data, settings.data.class_names

    ingest = ImageExampleGen(data)
    examples = ingest.outputs["examples"]

    statistics_gen = StatisticsGen(examples, stats_options=statistics_options())
    statistics = statistics_gen.outputs["statistics"]
    curated_schema = CuratedSchema(class_names)
    schema = curated_schema.outputs["schema"]
    validator = ExampleValidator(statistics, schema)
    accepted_data = newest_approved(baseline_nodes.accepted_data(statistics, data.source_name))
    data_gate = DataGate(
        statistics,
        schema,
        validator.outputs["anomalies"],
        data.source_name,
        data.max_class_shift,
        baseline_statistics=accepted_data.outputs["subject"],
    )

    transform = ImageTransform(examples, schema, **node_configs.transform(settings)).with_id("Transform")
    transform.add_upstream_node(data_gate)
    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        **node_configs.trainer(settings),
    )
    model = trainer.outputs["model"]

    blessed_model = newest_approved(baseline_nodes.blessed_model(model))
    best_model = newest_approved(baseline_nodes.best_model(model))
    prediction_table = PredictionTable(
        examples,
        model,
        newest=blessed_model.outputs["subject"],
        best=best_model.outputs["subject"],
        class_names=class_names,
        perturbed_images=settings.evaluation.perturbed_images,
    )
    predictions = prediction_table.outputs["predictions"]
    evaluator = Evaluator(examples=predictions, eval_config=eval_config(), example_splits=["test"])
    evaluation = evaluator.outputs["evaluation"]

    serving_check = ServingCheck(model, examples, settings.pipeline_name, class_names, settings.serving.check)
    serving_check.add_upstream_node(evaluator)
    served = serving_check.outputs["blessing"]
    quality_gate = QualityGate(model, predictions, evaluation, served, settings.evaluation, override)
    blessing = quality_gate.outputs["blessing"]

    report = EvaluationReport(
        model=model,
        model_run=trainer.outputs["model_run"],
        predictions=predictions,
        evaluation=evaluation,
        blessing=blessing,
        serving_check=served,
        examples=examples,
        rejected=ingest.outputs["rejected"],
        statistics=statistics,
        data_verdict=data_gate.outputs["verdict"],
        settings=dump(settings, without=["beam", "kubeflow"]),  # they do not change the result
        pipeline_name=settings.pipeline_name,
        class_names=class_names,
    )
    pusher = ModelPusher(
        model,
        blessing,
        destination=settings.serving_destination,
        push_config=settings.push_config,
        serving_check=served,
        evaluation=evaluation,
        examples=examples,
    ).with_id("Pusher")
    pusher.add_upstream_node(report)

    for step in (ingest, statistics_gen, transform, prediction_table, evaluator):
        step.with_beam_pipeline_args(node_configs.beam(settings, step.id))

    return Pipeline(
        pipeline_name=settings.pipeline_name,
        pipeline_root=str(settings.artifacts_dir),
        metadata_connection_config=sqlite_metadata_connection_config(str(settings.metadata_path)),
        components=[
            *(ingest, statistics_gen, curated_schema, validator, accepted_data, data_gate),
            *(transform, trainer),
            *(blessed_model, best_model, prediction_table, evaluator, serving_check, quality_gate),
            *(report, pusher),
        ],
        enable_cache=True,
    )
