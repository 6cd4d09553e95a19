"""What the cache reuses; see also test_runner.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.runs.run_record import RunRecord
from pipelines.settings.loading import load

pytestmark = pytest.mark.slow


def ingest(output_root: Path, run_id: str, *overrides: str) -> str:
    """Runs ImageExampleGen alone, and returns its final state."""
    from tfx import v1 as tfx

    from components.image_example_gen.component import ImageExampleGen
    from pipelines import node_configs
    from pipelines.local.runner import ReportingRunner

    settings = load(overrides=[f"output_root={output_root}", "data.sample.count=40", *overrides])
    step: Any = ImageExampleGen(settings.data)
    step.with_beam_pipeline_args(node_configs.beam(settings, step.id))
    pipeline = tfx.dsl.Pipeline(
        pipeline_name=settings.pipeline_name,
        pipeline_root=str(settings.artifacts_dir),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(settings.metadata_path)
        ),
        components=[step],
        enable_cache=True,
    )
    record = RunRecord(run_id=run_id)
    ReportingRunner(record, lambda: None, lambda *_: None).run(pipeline)
    return record.steps[step.id].state


def test_outputs_are_reused_wherever_beam_runs(tmp_path: Path) -> None:
    assert ingest(tmp_path, "1", "beam.workers=1") == "done"
    cluster = ("beam.runner=flink", "beam.flink.master=localhost:1", "beam.flink.job_endpoint=localhost:2")
    for beam in (["beam.workers=2"], cluster):
        assert ingest(tmp_path, "2", *beam) == "cached"
    assert ingest(tmp_path, "3", "data.split.seed=1") == "done"
