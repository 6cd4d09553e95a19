"""Builds the arguments of the Beam pipeline of a step."""

from __future__ import annotations

from pipelines.settings.beam import BeamConfig

# Steps that decode no images: most of their time goes into building hundreds of transforms, a fifth of it
# into type checks, and gRPC between worker threads costs more than the threads save.
_SMALL_STEPS = frozenset({"StatisticsGen", "Evaluator"})
# Without an SDK image, TFX would package its own source for remote workers.
_NO_PACKAGES = "--sdk_container_image=none"


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
        return cluster_arguments(beam)
    if step in _SMALL_STEPS:
        mode = ["--direct_running_mode=in_memory", "--direct_num_workers=1", "--no_pipeline_type_check"]
    else:
        mode = ["--direct_running_mode=multi_threading", f"--direct_num_workers={threads}"]
    return ["--runner=FnApiRunner", *mode, _NO_PACKAGES, *beam.args]


def cluster_arguments(beam: BeamConfig) -> list[str]:
    """Returns the Beam arguments of a job on the cluster."""
    flink = beam.flink
    arguments = ["--runner=PortableRunner", _NO_PACKAGES]
    arguments += [f"--job_endpoint={flink.job_endpoint}"] if flink.job_endpoint else []
    arguments += [f"--parallelism={flink.parallelism}"] if flink.parallelism else []
    if flink.environment == "loopback":
        environment = ["--environment_type=LOOPBACK"]
    else:
        environment = ["--environment_type=EXTERNAL", f"--environment_config={flink.worker_pool}"]
    return [*arguments, *environment, *beam.args]
