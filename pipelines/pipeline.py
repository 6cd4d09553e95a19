"""The whole pipeline, top to bottom."""

from __future__ import annotations

from tfx import v1 as tfx
from tfx.components import ExampleValidator, StatisticsGen, Trainer
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from components.artifacts import DataVerdict
from components.curated_schema.component import CuratedSchema
from components.data_gate.component import SOURCE, STATISTICS_ID, DataGate
from components.data_gate.statistics_options import counted_features
from components.image_example_gen.component import ImageExampleGen
from components.image_transform.component import ImageTransform
from components.model_pusher.component import ModelPusher
from components.serving_check.component import ServingCheck
from pipelines import baselines, step_configs
from pipelines.evaluation import eval_config
from pipelines.settings import Settings

ModelBlessing = tfx.types.standard_artifacts.ModelBlessing


def build(
    settings: Settings, newest_approved: baselines.BaselineMaker = baselines.resolver
) -> tfx.dsl.Pipeline:
    """Wires the components; what each of them does is told in its own module."""
    data = settings.data

    ingest = ImageExampleGen(
        data.source_spec, data.class_names, data.split.model_dump(), data.max_bad_fraction, data.max_pixels
    )
    examples = ingest.outputs["examples"]

    statistics_gen = StatisticsGen(examples, stats_options=counted_features())
    statistics = statistics_gen.outputs["statistics"]
    curated_schema = CuratedSchema(data.class_names)
    schema = curated_schema.outputs["schema"]
    validator = ExampleValidator(statistics, schema)
    accepted_data = newest_approved(
        baselines.Wanted("AcceptedData", statistics, DataVerdict, STATISTICS_ID, {SOURCE: data.source_name})
    )
    data_gate = DataGate(
        statistics,
        schema,
        validator.outputs["anomalies"],
        data.source_name,
        data.max_class_shift,
        baseline_statistics=accepted_data.outputs["subject"],
    )

    transform = ImageTransform(
        examples,
        schema,
        preprocessing_fn="trainer.preprocessing.preprocessing_fn",
        splits_config=tfx.proto.SplitsConfig(analyze=["train"], transform=["train", "eval"]),
        custom_config=step_configs.transform(settings),
        disable_statistics=True,
    ).with_id("Transform")
    transform.add_upstream_node(data_gate)

    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        run_fn="trainer.run.run_fn",
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config=step_configs.trainer(settings),
    )
    model = trainer.outputs["model"]

    blessed_model = newest_approved(
        baselines.Wanted("BlessedModel", model, ModelBlessing, "current_model_id")
    )
    evaluator = tfx.components.Evaluator(
        examples=examples,
        model=model,
        baseline_model=blessed_model.outputs["subject"],
        eval_config=eval_config(settings),
        example_splits=["test"],
    )

    serving_check = ServingCheck(
        model, examples, settings.pipeline_name, data.class_names, **settings.serving.check.model_dump()
    )
    serving_check.add_upstream_node(evaluator)

    pusher = ModelPusher(
        model,
        evaluator.outputs["blessing"],
        serving_check=serving_check.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        examples=examples,
        destination=settings.serving_destination,
        base_path=settings.serving_base_path,
        keep_versions=settings.serving.keep_versions,
        model_name=settings.pipeline_name,
    ).with_id("Pusher")

    return tfx.dsl.Pipeline(
        pipeline_name=settings.pipeline_name,
        pipeline_root=str(settings.artifacts_dir),
        metadata_connection_config=sqlite_metadata_connection_config(str(settings.metadata_path)),
        components=[
            ingest,
            statistics_gen,
            curated_schema,
            validator,
            accepted_data,
            data_gate,
            transform,
            trainer,
            blessed_model,
            evaluator,
            serving_check,
            pusher,
        ],
        beam_pipeline_args=step_configs.beam(settings),
        enable_cache=True,
    )
