"""Watching Flink jobs, on a real cluster."""

from __future__ import annotations

import _thread
import errno
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from components.errors import DataRejected, PipelineError
from pipelines.beam.arguments import cluster_arguments
from pipelines.beam.flink import Job, JobManager
from pipelines.beam.jobs import cancel_stale_jobs, job_name, root_cause, watch_jobs
from pipelines.settings.beam import BeamConfig, FlinkConfig
from pipelines.settings.tree import Settings
from tests.flink.cluster import FlinkCluster
from tests.pipelines.beam.conftest import Serve


def settings_of(root: Path, name: str = "pets") -> Settings:
    return Settings(pipeline_name=name, output_root=root)


def test_names_tell_steps_and_output_roots_apart(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    settings.mark_file.touch()
    name = job_name(settings, "Transform")
    assert name.startswith(job_name(settings))
    assert not name.startswith(job_name(settings_of(tmp_path / "other")))
    assert not name.startswith(job_name(settings_of(tmp_path, "cats")))
    assert name != job_name(settings, "Evaluator")
    os.utime(settings.mark_file, (1, 1))  # as of another machine's output root at the same path
    assert not name.startswith(job_name(settings))


BUFFERS = "java.io.IOException: Insufficient number of network buffers: required 2, but only 0 available."
JAVA = f"""org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.scheduler.DefaultScheduler.recordTaskFailure(DefaultScheduler.java:277)
Caused by: {BUFFERS}
\tat org.apache.flink.runtime.io.network.buffer.NetworkBufferPool.redistribute(NetworkBufferPool.java:1)
\t... 9 more
"""
PYTHON = """java.lang.RuntimeException: Error received: Traceback (most recent call last):
  File "worker.py", line 2128, in <lambda>
    wrapper = lambda x: [fn(x)]
                         ^^^^^
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "worker.py", line 310, in _execute
ZeroDivisionError: division by zero [while running 'Divide']

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient.lambda$handle$0(FnApiControlClient.java:1)
Caused by: java.lang.RuntimeException: Error received from SDK harness
"""
NO_SLOT = """java.util.concurrent.CompletionException: NoResourceAvailableException: Slot request …
Caused by: java.util.concurrent.TimeoutException: Timeout has occurred: 6000 ms
\t... 9 more
"""


@pytest.mark.parametrize(
    ("stack_trace", "cause"),
    [
        (JAVA, BUFFERS),
        (PYTHON, "ZeroDivisionError: division by zero"),
        (NO_SLOT, "Flink found no free task slot in time"),
        ("a sentence\nand another", "a sentence"),
    ],
    ids=["Java", "Python", "no slot", "neither"],
)
def test_the_root_cause_is_the_innermost_exception(stack_trace: str, cause: str) -> None:
    assert root_cause(stack_trace) == cause


DOCUMENTS: dict[str, Any] = {"/taskmanagers": {"taskmanagers": []}, "/jobs/overview": {"jobs": []}}


def test_a_job_manager_that_is_gone_is_the_cause(serve: Serve) -> None:
    documents = dict(DOCUMENTS)
    address = serve(documents)

    def fail() -> None:
        with watch_jobs(FlinkConfig(master=address), "Transform", "pets-Transform"):
            documents.clear()
            raise RuntimeError("Pipeline failed in state FAILED: java.net.ConnectException")

    with pytest.raises(PipelineError, match=f"Transform.*{address}"):
        fail()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left"),
        DataRejected("No dogs."),
        KeyboardInterrupt(),
        RuntimeError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_without_a_failed_job_stays_what_it_is(serve: Serve, error: BaseException) -> None:
    address = serve(DOCUMENTS)
    with (
        pytest.raises(type(error)) as raised,
        watch_jobs(FlinkConfig(master=address), "Transform", "pets-Transform"),
    ):
        raise error
    assert raised.value is error


class Jobs:
    """Runs small Beam jobs on the cluster.

    Attributes:
        name: The name of all jobs.
        manager: The cluster.
    """

    settings = settings_of(Path("/output"))
    name = job_name(settings, "Transform")

    def __init__(self, cluster: FlinkCluster) -> None:
        self._cluster = cluster
        self.manager = JobManager(cluster.master)

    def run(self, process: Callable[[int], int], **flink: Any) -> None:
        """Runs a job, watched as that of a step, in which a function processes four elements."""
        config = FlinkConfig(master=self._cluster.master, job_endpoint=self._cluster.job_endpoint, **flink)
        given = cluster_arguments(BeamConfig(runner="flink", flink=config))
        given += [f"--job_name={self.name}", "--parallelism=2"]
        with watch_jobs(config, "Transform", self.name), beam.Pipeline(argv=given) as pipeline:
            _ = pipeline | beam.Create(range(4)) | beam.Reshuffle() | beam.Map(process)

    def newest(self) -> Job:
        """Returns the job that was started last."""
        return self.manager.jobs(self.name)[-1]

    def wait_until_one_is(self, state: str) -> None:
        """Waits until a job is in a state."""
        deadline = time.monotonic() + 60
        while state not in {job.state for job in self.manager.jobs(self.name)}:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.fixture(scope="module")
def jobs(cluster: FlinkCluster) -> Jobs:
    return Jobs(cluster)


def reject(_element: int) -> int:
    raise DataRejected("Half of the labels are missing: check them.")


def divide(element: int) -> int:
    return element // 0


def linger(element: int) -> int:
    time.sleep(60)
    return element


@pytest.mark.flink
def test_an_error_for_the_user_ends_the_job_at_once_and_stays_what_it_is(jobs: Jobs) -> None:
    with pytest.raises(DataRejected, match="Half of the labels are missing: check them.$"):
        jobs.run(reject)
    assert jobs.newest().state != "FAILED"  # as after all restarts


@pytest.mark.flink
def test_a_failure_names_the_step_the_cause_and_the_task_manager(jobs: Jobs) -> None:
    with pytest.raises(PipelineError, match=r"Transform.* tm1\b.*ZeroDivisionError") as raised:
        jobs.run(divide)
    assert raised.value.exit_status == 1
    assert jobs.newest().id in str(raised.value)


@pytest.mark.flink
def test_a_job_whose_worker_never_starts_is_cancelled(jobs: Jobs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pool = f"localhost:{silent.getsockname()[1]}"
        with pytest.raises(PipelineError, match=pool):
            jobs.run(linger, environment="external", worker_pool=pool, idle_timeout_seconds=10)
    assert cancel_stale_jobs(jobs.manager, "") == []
    assert jobs.newest().state == "CANCELED"


@pytest.mark.flink
def test_an_interrupted_step_reports_progress_and_leaves_no_job(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt() -> None:
        jobs.wait_until_one_is("RUNNING")
        time.sleep(3)  # for a report
        _thread.interrupt_main()

    caplog.set_level(logging.INFO, "catsdogs.progress")
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        jobs.run(linger)
    job = jobs.newest()
    assert job.state in {"CANCELLING", "CANCELED"}
    assert re.search(rf"running, \d+ of \d+ tasks finished, .*{job.id}", caplog.messages[-1])


@pytest.mark.flink
def test_a_job_that_was_left_is_found_by_its_name_and_cancelled(jobs: Jobs) -> None:
    with ThreadPoolExecutor() as pool:
        run = pool.submit(jobs.run, linger)
        jobs.wait_until_one_is("RUNNING")
        assert cancel_stale_jobs(jobs.manager, job_name(settings_of(Path("/other")))) == []
        assert cancel_stale_jobs(jobs.manager, job_name(jobs.settings)) == [jobs.name]
        assert jobs.newest().state == "CANCELED"
        assert run.exception() is not None
