"""Runs Beam steps on a Flink cluster: the image submits them, and another container of it is the worker."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from components.errors import InputError
from scripts.kubeflow_check.containers import Podman
from scripts.kubeflow_check.images import SCRIPTS
from scripts.kubeflow_check.result_checks import IMAGES_CLAIM, STATE_CLAIM
from tests.e2e.served import count_records
from tests.flink.cluster import FlinkCluster
from tests.flink.packages import load_packages
from tests.kubeflow_backend.backend import Backend, Run
from tests.kubeflow_backend.containers import Container

_MANIFEST = SCRIPTS.parent / "pipelines/kubeflow/flink/cluster.yaml"
_LAST_TASK = "Transform"
_COMPARED = {"ImageExampleGen": "examples", "Transform": "transformed_examples"}
_POOL_SECONDS = 3600  # ends the pool if the check is killed


def check_flink(
    flags: Sequence[str],
    image: str,
    folder: Path,
    claims: Mapping[str, Path],
    compile_pipeline: Callable[[Path, Sequence[str]], None],
    expected: tuple[Backend, Run],
    report: Callable[[str], None],
) -> str:
    """Runs the pipeline up to Transform with its Beam steps on Flink.

    Flink and the job server are processes of this machine. The worker pool is a container as in the shipped
    manifest, which sees the claims alone.

    Args:
        flags: Podman's flags for this machine.
        image: The CPU image.
        folder: Folder for the logs.
        claims: Folder behind each claim.
        compile_pipeline: Compiles the pipeline into a file, with these settings.
        expected: A run whose Beam steps ran in their own pods.
        report: Called with progress messages.

    Returns:
        The result in one sentence.

    Raises:
        InputError: A task failed, the worker was not used, or the records are others.
    """
    pool_log, pipeline = folder / "worker-pool.log", folder / "flink.yaml"
    name = f"catsdogs-check-pool-{os.getpid()}"
    (folder / "flink").mkdir()
    with FlinkCluster(
        load_packages(), folder / "flink", host_network=True, task_managers=1, worker_pools=False
    ) as cluster:
        addresses = ("master", "job_endpoint", "worker_pool")
        settings = [f"beam.flink.{address}={getattr(cluster, address)}" for address in addresses]
        compile_pipeline(pipeline, ["beam.runner=flink", "beam.flink.environment=external", *settings])
        _keep_up_to(pipeline, _LAST_TASK)
        container = _worker_pool(image, folder, pool_log, cluster.worker_pool.partition(":")[2])
        detached = [*flags, "--detach", f"--timeout={_POOL_SECONDS}"]
        read_only = frozenset({IMAGES_CLAIM})
        command = Podman(detached, claims, read_only, network="host").command(container, name)
        try:
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            backend = Backend(folder / "flink-cluster", Podman(flags, claims, read_only, report, "host"))
            run = backend.run(pipeline)
        finally:
            with pool_log.open("wb") as file:
                subprocess.run(["podman", "logs", name], stdout=file, stderr=file, check=False)
            subprocess.run(["podman", "rm", "--force", "--ignore", name], capture_output=True, check=False)
    if not run.succeeded:
        raise InputError(f"Beam steps on Flink failed: see {run.folder} and {pool_log}.\n{run}")
    if "Starting worker with command" not in pool_log.read_text():
        raise InputError(f"Flink used no worker of the container: see {pool_log}.")
    for task, output in _COMPARED.items():
        if _records(backend, run, task, output) != _records(*expected, task, output):
            raise InputError(f"{task} has written other records on Flink: see {run.folder}.")
    seconds = ", ".join(f"{task} {run.tasks[task].seconds:.0f} s" for task in _COMPARED)
    return f"Workers in a container of their own wrote the same records through Flink: {seconds}"


def _worker_pool(image: str, folder: Path, log: Path, port: str) -> Container:
    """Returns the worker pool of the shipped manifest, at another port."""
    manifest = yaml.safe_load(_MANIFEST.read_text())
    [pool] = manifest["spec"]["taskManager"]["podTemplate"]["spec"]["containers"]
    program = [part.replace("50000", port) for part in pool["args"]]
    environment = {variable["name"]: variable["value"] for variable in pool["env"]}
    pod = folder / "pods" / "worker-pool"
    pod.mkdir(parents=True)
    mounts = {"/state": STATE_CLAIM, "/data": IMAGES_CLAIM}
    return Container("worker pool", image, program, environment, pod, mounts, log)


def _keep_up_to(pipeline: Path, task: str) -> None:
    """Removes the tasks that a task of a compiled pipeline does not depend on."""
    [spec, platform] = yaml.safe_load_all(pipeline.read_text())
    tasks, kept = spec["root"]["dag"]["tasks"], [task]
    for name in kept:
        kept += [other for other in tasks[name].get("dependentTasks", []) if other not in kept]
    spec["root"]["dag"]["tasks"] = {name: tasks[name] for name in kept}
    pipeline.write_text(yaml.safe_dump_all([spec, platform], sort_keys=False))


def _records(backend: Backend, run: Run, task: str, output: str) -> dict[str, Counter[bytes]]:
    uri = backend.artifact(run.tasks[task], output).uri
    return count_records(backend.store.folder / uri.replace("://", "/"))
