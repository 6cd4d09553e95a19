"""Builds the Beam arguments of each task."""

from __future__ import annotations

from math import ceil

from pipelines.beam.arguments import arguments
from pipelines.settings.quantities import parse_quantity
from pipelines.settings.tree import Settings


def task_arguments(settings: Settings, task: str) -> list[str]:
    """Returns the Beam arguments of a task; in its pod, it has `beam.workers` threads, else one per core."""
    resources = settings.kubeflow.task(task)
    cores = parse_quantity(resources.cpu_limit or resources.cpu_request or "1")
    return arguments(settings.beam, task, threads=settings.beam.workers or ceil(cores))
