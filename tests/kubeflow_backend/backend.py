"""Runs a compiled pipeline on this machine as Kubeflow Pipelines does: API server, driver, launcher, cache.

    backend = Backend(folder, Subprocesses({IMAGE: folder_of_packages}, {"my-claim": folder_of_volume}))
    run = backend.run(Path("pipeline.yaml"), {"max_class_shift": 0.2})
    assert run.steps("executed") == {...}

`folder` becomes the cluster: `store/minio/<bucket>/…` is the artifact store, and each run has a folder under
`runs/` with the logs. Another way of running commands is another `Containers` (see containers.py): its
`root(pod)` returns the path at which a command sees the folder of its pod (`/` if it is mounted there), and
`run(container)` runs one to its end. Apart from volumes, a task sees only its pod's folder.
"""

from __future__ import annotations

import math
import shutil
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from google.protobuf import struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from tests.kubeflow_backend.containers import Containers
from tests.kubeflow_backend.driver import (
    Results,
    mounts,
    provision_outputs,
    resolve_inputs,
    task_fingerprint,
)
from tests.kubeflow_backend.errors import Refused
from tests.kubeflow_backend.launcher import Failed, Launcher
from tests.kubeflow_backend.metadata import ArtifactRecords
from tests.kubeflow_backend.object_store import ObjectStore, session
from tests.kubeflow_backend.retries import Deleted, RetryStrategy, of_task
from tests.kubeflow_backend.specs import Pipeline, Task, load

AT_ONCE = 2


@dataclass(frozen=True)
class Step:
    """What became of a task.

    Attributes:
        state: `executed`, `cached`, `failed`, or `omitted` where something upstream has failed.
        seconds: It took, driver and launcher included.
        log: What it wrote; there is none if nothing ran.
        results: What it put out.
        inputs: What it was given; None if it did not come to that.
        error: Why it failed.
    """

    state: str
    seconds: float = 0.0
    log: Path | None = None
    results: Results = field(default_factory=Results)
    inputs: pb.ExecutorInput.Inputs | None = None
    error: str = ""

    @property
    def output(self) -> str:
        """What it wrote."""
        return self.log.read_text() if self.log and self.log.exists() else ""


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Attributes:
        id: Of the run.
        folder: With its logs.
        tasks: What became of each, in the order in which they could run.
    """

    id: str
    folder: Path
    tasks: Mapping[str, Step]

    def steps(self, state: str) -> set[str]:
        """Returns the tasks that ended in a state."""
        return {name for name, step in self.tasks.items() if step.state == state}

    @property
    def succeeded(self) -> bool:
        """Whether every task did."""
        return not self.steps("failed")

    def __str__(self) -> str:
        lines = [f"{step.state:9}{step.seconds:7.1f} s  {name}" for name, step in self.tasks.items()]
        lines += [f"{name}: {step.error}" for name, step in self.tasks.items() if step.error]
        return "\n".join(lines)


class Backend:
    """A cluster with Kubeflow Pipelines.

    Args:
        folder: Of the cluster; may be there already, but is this cluster's own.
        containers: How commands are run.
        namespace: In which pipelines run.
        keep_pods: Whether the folders of pods that have ended are kept, to look at.
        template_defaults: The retry strategy that Argo merges under each template; None as in KFP 2.16.
        deletions: How many of a task's pods are deleted before they have done anything.
    """

    def __init__(
        self,
        folder: Path,
        containers: Containers,
        namespace: str = "kubeflow",
        keep_pods: bool = False,
        template_defaults: RetryStrategy | None = None,
        deletions: Mapping[str, int] | None = None,
    ) -> None:
        self.folder = folder
        self.containers = containers
        self.namespace = namespace
        self.keep_pods = keep_pods
        self.template_defaults = template_defaults
        self._deletions = dict(deletions or {})
        self.store = ObjectStore(folder / "store")
        self.records = ArtifactRecords()
        self._cache: dict[tuple[str, str, str], Results] = {}

    def run(self, file: Path, parameters: Mapping[str, Any] | None = None, root: str = "") -> Run:
        """Runs a compiled pipeline to its end, up to two tasks at a time.

        Args:
            file: The pipeline.
            parameters: Of the run, over the pipeline's defaults.
            root: The pipeline root, if it is not to be the pipeline's own.

        Raises:
            Refused: The backend would not start the run.
        """
        pipeline = load(file)
        identity = str(uuid.uuid4())
        folder = self.folder / "runs" / identity
        root = root or pipeline.root
        session(root)
        run = _Run(self, pipeline, pipeline.values(parameters or {}), identity, folder, root)
        folder.mkdir(parents=True)
        return Run(identity, folder, run.tasks())

    def delete_pod(self, task: str) -> None:
        """Deletes the pod that a task has started, if it is to be.

        Raises:
            Deleted: It was.
        """
        if self._deletions.get(task):
            self._deletions[task] -= 1
            raise Deleted("pod deleted")

    def artifact(self, step: Step, output: str) -> pb.RuntimeArtifact:
        """Returns an artifact that a task has put out, as its consumers get it."""
        return self.records.get(step.results.artifacts[output])

    def cached(self, pipeline: str, fingerprint: str) -> Results | None:
        """Returns what the newest task with a fingerprint has put out."""
        return self._cache.get((pipeline, self.namespace, fingerprint))

    def keep(self, pipeline: str, fingerprint: str, results: Results) -> None:
        """Keeps what a task has put out."""
        self._cache[(pipeline, self.namespace, fingerprint)] = results


class _Run:
    def __init__(
        self,
        backend: Backend,
        pipeline: Pipeline,
        values: Mapping[str, struct_pb2.Value],
        identity: str,
        folder: Path,
        root: str,
    ) -> None:
        self._backend = backend
        self._pipeline = pipeline
        self._values = values
        self._id = identity
        self._folder = folder
        self._root = f"{root.partition('?')[0].rstrip('/')}/{pipeline.name}/{identity}"
        self._launcher = Launcher(backend.store, backend.records, backend.containers, root, self._root)

    def tasks(self) -> dict[str, Step]:
        """Runs every task whose upstream tasks have all succeeded."""
        done: dict[str, Step] = {}
        running: dict[Future[Step], str] = {}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while len(done) < len(self._pipeline.tasks):
                for name, task in self._pipeline.tasks.items():
                    ended = [done[producer] for producer in task.upstream if producer in done]
                    if name in done or name in running.values() or len(ended) < len(task.upstream):
                        continue
                    if any(step.state in ("failed", "omitted") for step in ended):
                        done[name] = Step("omitted")
                    else:
                        results = {producer: done[producer].results for producer in task.upstream}
                        running[pool.submit(self._task, task, results)] = name
                if running:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        done[running.pop(future)] = future.result()
        return {name: done[name] for name in self._pipeline.tasks}

    def _task(self, task: Task, results: Mapping[str, Results]) -> Step:
        started = time.monotonic()
        log = self._folder / f"{task.name}.log"
        try:
            inputs = resolve_inputs(task, self._values, results, self._backend.records)
            given = pb.ExecutorInput(
                inputs=inputs, outputs=provision_outputs(task, self._root, str(uuid.uuid4()))
            )
            key = task_fingerprint(task, given, list(mounts(task).values()))
        except Refused as error:
            return Step("failed", time.monotonic() - started, error=str(error))
        cacheable = task.spec.caching_options.enable_cache
        if cacheable and (known := self._backend.cached(self._pipeline.name, key)):
            return Step("cached", time.monotonic() - started, results=known, inputs=inputs)
        try:
            found = self._launch(task, given, log)
        except Failed as error:
            return Step("failed", time.monotonic() - started, log, inputs=inputs, error=str(error))
        if cacheable:
            self._backend.keep(self._pipeline.name, key, found)
        return Step("executed", time.monotonic() - started, log, found, inputs)

    def _launch(self, task: Task, given: pb.ExecutorInput, log: Path) -> Results:
        """Tries a task as Argo does: its pod, and the DAG around the pod, have a retry strategy each.

        So have the pipeline's DAG and the workflow: Argo then runs the whole pipeline again, unlike this one.
        """
        strategy = self._backend.template_defaults or RetryStrategy(0)
        for retry in count():
            try:
                return self._try_pod(task, given, log, f"{task.name}-{retry}")
            except Failed as error:
                if not strategy.repeats(error, retry):
                    raise
        raise AssertionError("unreachable")

    def _try_pod(self, task: Task, given: pb.ExecutorInput, log: Path, name: str) -> Results:
        """Tries a pod: `maxDuration` counts from the start of the first try.

        The pauses between tries are reckoned with, and not made.
        """
        policy = task.spec.retry_policy
        strategy = of_task(task, self._backend.template_defaults)
        own = task.kubernetes.active_deadline_seconds or math.inf
        longest = math.inf
        if task.spec.HasField("retry_policy"):
            longest = policy.backoff_max_duration.seconds  # 0, which is no retry, if it is not set
        end = time.monotonic() + longest
        for retry in count():
            pod = self._folder / "pods" / f"{name}-{retry}"
            deadline = min(own, end - time.monotonic()) if retry else own
            try:
                self._backend.delete_pod(task.name)
                return self._launcher.execute(
                    task,
                    given,
                    pod,
                    log,
                    retry,
                    None if deadline == math.inf else max(math.ceil(deadline), 1),
                )
            except Failed as error:
                if not strategy.repeats(error, retry):
                    raise
                end -= policy.backoff_duration.seconds * policy.backoff_factor**retry
                if time.monotonic() > end:
                    raise type(error)(f"{error}; no further try: Max duration limit exceeded") from error
            finally:
                if not self._backend.keep_pods:
                    shutil.rmtree(pod, ignore_errors=True)
        raise AssertionError("unreachable")
