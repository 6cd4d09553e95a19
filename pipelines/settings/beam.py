"""The `beam` settings: where the Beam pipelines of the steps run."""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from trainer.training_config import ConfigSection, Count

# Beam options that other settings decide.
_SETTING_OF_OPTION = {
    "runner": "beam.runner",
    "direct_num_workers": "beam.workers",
    "flink_master": "beam.flink.master",
    "flink_version": "beam.flink.version",
    "flink_job_server_jar": "beam.flink.job_server_jar",
    "job_endpoint": "beam.flink.job_endpoint",
    "parallelism": "beam.flink.parallelism",
    "environment_type": "beam.flink.environment",
    "environment_config": "beam.flink.worker_pool",
}


@functools.cache
def _beam_options() -> frozenset[str]:
    """Returns the names of all options that Beam's Python SDK knows; takes two seconds."""
    import apache_beam  # noqa: F401  # pipeline_options cannot be imported first
    from apache_beam.options import pipeline_options

    parser = pipeline_options._BeamArgumentParser(allow_abbrev=False, add_help=False)
    for section in set(pipeline_options.PipelineOptions.__subclasses__()):
        section._add_argparse_args(parser)
    return frozenset(text.removeprefix("--") for text in parser._option_string_actions)


def _check_argument(argument: str) -> str:
    name = argument.partition("=")[0]
    if not name.startswith("--") or not name.removeprefix("--"):
        raise ValueError(f"{argument!r} is not a Beam argument: write --NAME=VALUE or --NAME")
    option = name.removeprefix("--")
    if option in _SETTING_OF_OPTION:
        raise ValueError(f"{argument!r} is decided by another setting: use {_SETTING_OF_OPTION[option]}")
    if option not in _beam_options():
        close = difflib.get_close_matches(option, _beam_options(), n=1)
        suggestion = f". Did you mean '--{close[0]}'?" if close else ""
        raise ValueError(f"Beam has no option {name!r}{suggestion}")
    return argument


def _check_address(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+:[0-9]{1,5}", text):
        raise ValueError(f"{text!r} is not the address of a service: write HOST:PORT, such as localhost:8081")
    return text


def _version_text(version: object) -> object:
    """Returns the text of a version that YAML reads as a number: 1.20 as 1.2, for example."""
    return f"{version:.{2 if version < 2 else 1}f}" if isinstance(version, float) else version


Address = Annotated[str, AfterValidator(_check_address)]
FlinkVersion = Annotated[
    Literal["1.19", "1.20", "2.0", "2.1", "2.2"],  # those that Beam 2.77 has a job server for
    BeforeValidator(_version_text),
]
ClusterStep = Literal["ImageExampleGen", "StatisticsGen", "Transform", "PredictionTable", "Evaluator"]


class FlinkConfig(ConfigSection):
    """An Apache Flink cluster, and how Beam uses it.

    Attributes:
        master: Host and port of the JobManager's REST service.
        version: Flink's version; None asks the cluster.
        parallelism: Number of parallel subtasks of a job; None means all task slots that are free.
        environment: Where Beam's Python workers run: `loopback`, in the submitting process, which must be on
            the machine of the TaskManagers, or `external`, in a worker pool beside each TaskManager.
        worker_pool: Host and port of that worker pool, as a TaskManager sees it.
        job_server_jar: Beam's job server for Flink; None lets Beam download it.
        job_endpoint: Host and port of a running job server; None starts one here, which needs Java.
        idle_timeout_seconds: A job that makes no progress for so long is cancelled.
    """

    master: Address | None = None
    version: FlinkVersion | None = None
    parallelism: Count | None = None
    environment: Literal["loopback", "external"] = "loopback"
    worker_pool: Address = "localhost:50000"
    job_server_jar: Path | None = None
    job_endpoint: Address | None = None
    idle_timeout_seconds: Annotated[int, Field(ge=10)] = 600


class BeamConfig(ConfigSection):
    """Where the Beam pipelines of the steps run.

    Attributes:
        runner: `local` runs them in the step's process, `flink` on a cluster.
        workers: Number of threads of the local runner; None means one per core.
        cluster_steps: The steps that run on the cluster; the others stay local.
        flink: The cluster.
        args: Further arguments of all Beam pipelines.
    """

    runner: Literal["local", "flink"] = "local"
    workers: Count | None = None
    cluster_steps: tuple[ClusterStep, ...] = ("ImageExampleGen", "Transform", "PredictionTable")
    flink: FlinkConfig = FlinkConfig()
    args: tuple[Annotated[str, AfterValidator(_check_argument)], ...] = ()
