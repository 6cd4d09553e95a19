"""Builds the arguments for the Beam pipeline of each node of a task."""

from __future__ import annotations

from math import ceil

from pipelines.beam.arguments import arguments, runs_on_cluster
from pipelines.settings.kubeflow import TASK_OF_NODE
from pipelines.settings.quantities import parse_quantity
from pipelines.settings.tree import Settings


def node_arguments(settings: Settings, node: str) -> list[str]:
    """Returns the arguments of a node with a Beam pipeline.

    In its pod, it has `beam.workers` threads, else one per core. On a cluster, the entry point completes the
    Beam arguments, and the workers read and write gs:// directly or else copies of the artifacts on a volume.
    """
    beam = settings.beam
    if runs_on_cluster(beam, node):
        is_remote = str(settings.kubeflow.pipeline_root).startswith("gs://")
        staging = [] if is_remote else ["--staging", str(settings.output_root / "beam")]
        return ["--beam", beam.model_dump_json(exclude_defaults=True), *staging]
    resources = settings.kubeflow.task(TASK_OF_NODE[node])
    cores = parse_quantity(resources.cpu_limit or resources.cpu_request or "1")
    return arguments(beam, node, threads=beam.workers or ceil(cores))
