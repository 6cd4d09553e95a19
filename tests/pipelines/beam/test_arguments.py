"""The Beam arguments of a step."""

from __future__ import annotations

import pytest

from pipelines.beam.arguments import arguments, runs_on_cluster
from pipelines.settings.beam import BeamConfig, FlinkConfig

FLINK = BeamConfig(runner="flink", flink=FlinkConfig(master="flink:8081", version="1.19", parallelism=4))


def option(given: list[str], name: str) -> str | None:
    """The value that Beam's parser would take: the last one."""
    values = dict(argument.removeprefix("--").partition("=")[::2] for argument in given)
    return values.get(name)


def test_a_local_step_has_the_given_threads() -> None:
    given = arguments(BeamConfig(), "Transform", threads=3)
    assert option(given, "runner") == "FnApiRunner"
    assert option(given, "direct_num_workers") == "3"


@pytest.mark.parametrize("step", ["StatisticsGen", "Evaluator"])
def test_a_small_step_has_one_thread_wherever_the_others_run(step: str) -> None:
    for beam in (BeamConfig(), FLINK):
        given = arguments(beam, step, threads=3)
        assert option(given, "runner") == "FnApiRunner"
        assert option(given, "direct_num_workers") == "1"


def test_a_step_on_the_cluster_starts_a_job_server() -> None:
    given = arguments(FLINK, "ImageExampleGen", threads=3)
    assert option(given, "runner") == "FlinkRunner"
    assert option(given, "flink_master") == "flink:8081"
    assert option(given, "flink_version") == "1.19"
    assert option(given, "parallelism") == "4"
    assert option(given, "environment_type") == "LOOPBACK"


def test_a_step_on_the_cluster_uses_the_given_job_server_and_worker_pools() -> None:
    flink = FlinkConfig(master="flink:8081", job_endpoint="jobs:8099", environment="external")
    given = arguments(BeamConfig(runner="flink", flink=flink), "Transform", threads=3)
    assert option(given, "runner") == "PortableRunner"
    assert option(given, "job_endpoint") == "jobs:8099"
    assert option(given, "environment_type") == "EXTERNAL"
    assert option(given, "environment_config") == "localhost:50000"


def test_the_settings_choose_the_steps() -> None:
    assert [step for step in ("Transform", "Evaluator", "Trainer") if runs_on_cluster(FLINK, step)] == [
        "Transform"
    ]
    beam = FLINK.model_copy(update={"cluster_steps": ("Evaluator",)})
    assert runs_on_cluster(beam, "Evaluator")
    assert not runs_on_cluster(beam, "Transform")


@pytest.mark.parametrize("step", ["Transform", "Evaluator"])
def test_further_arguments_reach_every_step(step: str) -> None:
    beam = FLINK.model_copy(update={"args": ("--environment_cache_millis=60000",)})
    assert arguments(beam, step, threads=1)[-1] == "--environment_cache_millis=60000"
