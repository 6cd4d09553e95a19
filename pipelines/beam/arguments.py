"""Builds the arguments of the Beam pipeline of a step."""

from __future__ import annotations

from pipelines.settings.beam import BeamConfig

# Steps that decode no images: most of their time goes into building hundreds of transforms, a fifth of it
# into type checks, and gRPC between worker threads costs more than the threads save.
_SMALL_STEPS = frozenset({"StatisticsGen", "Evaluator"})


def runs_on_cluster(beam: BeamConfig, step: str) -> bool:
    """Returns True if the Beam pipeline of a step runs on the cluster."""
    return beam.runner == "flink" and step in beam.cluster_steps


def arguments(beam: BeamConfig, step: str, threads: int) -> list[str]:
    """Returns the Beam arguments of a step.

    Args:
        beam: The settings.
        step: The step's node id.
        threads: Number of threads of a local step.
    """
    if runs_on_cluster(beam, step):
        return [*_flink(beam), *beam.args]
    if step in _SMALL_STEPS:
        mode = ["--direct_running_mode=in_memory", "--direct_num_workers=1", "--no_pipeline_type_check"]
    else:
        mode = ["--direct_running_mode=multi_threading", f"--direct_num_workers={threads}"]
    # Without an SDK image, TFX would package its own source for remote workers.
    return ["--runner=FnApiRunner", *mode, "--sdk_container_image=none", *beam.args]


def _flink(beam: BeamConfig) -> list[str]:
    flink = beam.flink
    if flink.job_endpoint:
        submission = ["--runner=PortableRunner", f"--job_endpoint={flink.job_endpoint}"]
    else:
        submission = ["--runner=FlinkRunner", f"--flink_master={flink.master}"]
        submission += [f"--flink_version={flink.version}"] if flink.version else []
        submission += [f"--flink_job_server_jar={flink.job_server_jar}"] if flink.job_server_jar else []
    if flink.environment == "external":
        environment = ["--environment_type=EXTERNAL", f"--environment_config={flink.worker_pool}"]
    else:
        environment = ["--environment_type=LOOPBACK"]
    parallelism = [f"--parallelism={flink.parallelism}"] if flink.parallelism else []
    return [*submission, *environment, *parallelism]
