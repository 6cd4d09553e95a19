"""The `beam` settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.settings.errors import SettingsError
from pipelines.settings.loading import load


@pytest.mark.parametrize(
    "override",
    [
        "beam.args=[--no_pipeline_type_check, --environment_cache_millis=60000]",
        "beam.flink={master: 'flink-rest.data:8081', version: '2.2', parallelism: 4}",
        "beam.flink={environment: external, worker_pool: 'localhost:50001', job_endpoint: 'jobs:8099'}",
        "beam.cluster_steps=[Evaluator]",
        "beam.flink.job_server_jar=/opt/job-server.jar",
    ],
)
def test_valid_settings(override: str) -> None:
    assert load(overrides=[override]) != load()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("beam.args=[runner=x]", ["beam.args.0", "runner=x", "--NAME=VALUE"]),
        (
            "beam.args=[--environment_cache_mils=1]",
            ["--environment_cache_mils", "--environment_cache_millis"],
        ),
        ("beam.args=[--qqqq]", ["beam.args.0", "--qqqq"]),
        ("beam.args=[--runner=FlinkRunner]", ["--runner=FlinkRunner", "beam.runner"]),
        ("beam.args=['--flink_master=flink:8081']", ["beam.flink.master"]),
        ("beam.runner=flnk", ["beam.runner", "flnk", "'flink'"]),
        ("beam.cluster_steps=[Trainer]", ["beam.cluster_steps.0", "Trainer", "Transform"]),
        ("beam.flink.master=http://flink:8081", ["beam.flink.master", "http://flink:8081", "HOST:PORT"]),
        ("beam.flink.version=1.18", ["beam.flink.version", "1.18", "'1.19'"]),
        ("beam.flink.environment=docker", ["docker", "external"]),
        ("kubeflow.beam_args=[]", ["'kubeflow.beam_args'", "'beam.args'"]),
    ],
)
def test_an_invalid_setting_is_named(override: str, named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(overrides=[override])
    assert [text for text in named if text not in str(caught.value)] == []


@pytest.mark.parametrize(("text", "version"), [("1.19", "1.19"), ("1.20", "1.20"), ("2.0", "2.0")])
def test_a_version_needs_no_quotes(text: str, version: str) -> None:
    assert load(overrides=[f"beam.flink.version={text}"]).beam.flink.version == version


def test_the_job_server_is_found_from_any_folder() -> None:
    jar = load(overrides=["beam.flink.job_server_jar=job-server.jar"]).beam.flink.job_server_jar
    assert jar == Path.cwd() / "job-server.jar"


def test_beam_is_only_imported_to_check_its_options() -> None:
    code = (
        "import sys; from pipelines.settings.loading import load; load(); print('apache_beam' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
