from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.settings.loading import load
from tests.kubeflow_backend.workflow_size import Texts, texts_of, workflow_size

IMAGES = [
    f"kubeflow.images.{kind}=registry.example.com/team/catsdogs-{kind}@sha256:{'a' * 64}"
    for kind in ("cpu", "gpu")
]
FLINK = [
    "beam.runner=flink",
    "beam.flink.master=catsdogs-flink-rest.kubeflow:8081",
    "beam.flink.job_endpoint=catsdogs-job-server.kubeflow:8099",
    "beam.flink.environment=external",
    "kubeflow.secrets=[{name: store, env: {AWS_SECRET_ACCESS_KEY: secretkey, AWS_ACCESS_KEY_ID: accesskey}}]",
]

# The pipeline of 20 tasks of the first version, which ran on a cluster with KFP 2.17.
EARLIER = Texts(
    tasks=20,
    retried=19,
    component=29_444,
    task=24_793,
    container=27_616,
    kubernetes=8_393,
    patch=162_211,
    patch_retried=152_002,
    root=25_543,
)


def test_it_is_the_measured_size_of_the_first_version() -> None:
    as_installed = workflow_size(EARLIER, template_defaults=True)
    assert as_installed.node_count == 126
    assert as_installed.nodes == pytest.approx(1_335_000, rel=0.02)
    without = workflow_size(EARLIER, template_defaults=False)
    assert without.node_count == 82
    assert without.whole == pytest.approx(1_003_095, rel=0.02)


def test_the_texts_are_those_that_were_measured_in_its_nodes() -> None:
    assert 6 * EARLIER.patch == pytest.approx(647_000 + 326_000, rel=0.02)
    assert 2 * (EARLIER.component + EARLIER.root) == pytest.approx(109_000, rel=0.02)
    assert 2 * EARLIER.task == pytest.approx(49_000, rel=0.02)
    assert 2 * EARLIER.kubernetes == pytest.approx(17_000, rel=0.02)
    assert 2 * EARLIER.container == pytest.approx(60_000, rel=0.1)  # the images had longer names


@pytest.mark.parametrize("overrides", [[], FLINK], ids=["as shipped", "on Flink with a secret"])
def test_the_workflow_is_far_below_the_size_at_which_argo_compresses_it(
    overrides: list[str], tmp_path: Path
) -> None:
    from pipelines.kubeflow.compile import compile_pipeline

    file = tmp_path / "pipeline.yaml"
    file.write_text(compile_pipeline(load("kubeflow", [*IMAGES, *overrides])))
    texts = texts_of(file)
    assert texts.tasks <= 13
    as_installed, without = (workflow_size(texts, defaults) for defaults in (True, False))
    print(as_installed, without)
    assert as_installed.whole < 900_000
    assert without.whole < 600_000
