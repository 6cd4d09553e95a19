"""Watches the Flink jobs of a step: progress, failure, cancellation."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from components.errors import PipelineError, find_user_error, remove_beam_suffix
from pipelines.beam.flink import Job, JobManager
from pipelines.settings.beam import FlinkConfig

if TYPE_CHECKING:  # the settings of local runs are not needed in containers
    from pipelines.settings.tree import Settings

_POLL_SECONDS = 2.0
_CANCEL_TIMEOUT_SECONDS = 60.0

_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:\s.*\n|\n)*(\S.*)")
_JAVA_EXCEPTION = re.compile(r"^(?:Caused by: )?([\w.$]+(?:Exception|Error)\b.*)", re.MULTILINE)

_progress = logging.getLogger("catsdogs.progress")
_log = logging.getLogger(__name__)


def job_name(settings: Settings, step: str = "") -> str:
    """Returns the name of a step's Flink jobs in a local run.

    Args:
        settings: The settings; no other output root has jobs of the same name.
        step: The step's node id; without it, the result is what the names of all steps start with.
    """
    mark = settings.mark_file
    # On another machine, or in another container, there may be an output root at the same path.
    root = f"{settings.output_root} {mark.stat().st_mtime_ns if mark.exists() else 0}"
    return f"{settings.pipeline_name}-{hashlib.sha256(root.encode()).hexdigest()[:8]}-{step}"


def cancel_stale_jobs(job_manager: JobManager, name_prefix: str) -> list[str]:
    """Cancels the jobs that a killed run has left, and waits until their tasks have ended.

    Args:
        job_manager: The cluster.
        name_prefix: What their names start with; the caller must be the only one whose jobs have such names.

    Returns:
        The names of the cancelled jobs.

    Raises:
        PipelineError: The cluster cannot be reached, or a job does not end.
    """
    stale = [job for job in job_manager.jobs(name_prefix) if not job.has_ended]
    for job in stale:
        job_manager.cancel(job.id)
    deadline = time.monotonic() + _CANCEL_TIMEOUT_SECONDS
    while unfinished := [job for job in job_manager.jobs(name_prefix) if not job.has_ended]:
        if time.monotonic() > deadline:
            job = unfinished[0]
            raise PipelineError(
                f"The Flink job {job.name} of a killed run is still {job.state.lower()}, "
                f"{_CANCEL_TIMEOUT_SECONDS:.0f} seconds after it was cancelled: see {job_manager.page(job)}."
            )
        time.sleep(0.2)
    return [job.name for job in stale]


@contextmanager
def watch_jobs(flink: FlinkConfig, step: str, name: str) -> Iterator[None]:
    """Reports the progress of a step's Flink jobs, and cancels them if the block raises an exception.

    Args:
        flink: The cluster.
        step: The step's node id, for messages.
        name: The name of the step's jobs.

    Raises:
        PipelineError: A job failed, or made no progress for `idle_timeout_seconds`; the message states the
            root cause. An error for the user that was raised in a worker goes through unchanged, as do
            OSErrors.
    """
    watch = _Watch(flink, step, name)
    watch.start()
    try:
        yield
    except BaseException as error:
        failed_job = watch.cancel()
        # The cure of an OSError, such as a full disk, is known elsewhere.
        if isinstance(error, Exception) and not (isinstance(error, OSError) or find_user_error(error)):
            explanation = watch.error or (failed_job and watch.explain(failed_job))
            if explanation:
                raise explanation from error
        raise
    finally:
        watch.stop()


class _Watch(threading.Thread):
    """Polls the jobs of a step.

    Attributes:
        error: Why a job has been cancelled, or cannot be found any more.
    """

    error: PipelineError | None = None

    def __init__(self, flink: FlinkConfig, step: str, name: str) -> None:
        super().__init__(name="flink-watch", daemon=True)
        assert flink.master
        self._job_manager = JobManager(flink.master)
        self._flink = flink
        self._step = step
        self._name = name
        self._task_managers = self._job_manager.task_managers()
        self._earlier_jobs = {job.id for job in self._job_manager.jobs(name)}
        self._stopped = threading.Event()

    def run(self) -> None:
        last: object = None
        last_text = ""
        last_change = time.monotonic()
        while not self._stopped.wait(_POLL_SECONDS):
            try:
                running = [job for job in self._jobs() if not job.has_ended]
                if not running:
                    last_change = time.monotonic()
                    continue
                job = running[-1]
                text, counters = self._job_manager.progress(job.id)
                if (job, text, counters) != last:
                    last, last_change = (job, text, counters), time.monotonic()
                idle_seconds = time.monotonic() - last_change
                self.error = self.error or self._user_error(job) or self._idle_error(job, idle_seconds)
                if self.error:
                    self._job_manager.cancel(job.id)
                    continue
            except PipelineError as error:
                _log.warning("%s", error)
                continue
            if text != last_text:
                _progress.info("Flink: %s, %s", text, self._job_manager.page(job))
                last_text = text

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self.join()

    def cancel(self) -> Job | None:
        """Cancels the jobs that have not ended, if the cluster can be reached; returns a failed one."""
        try:
            jobs = self._jobs()
            for job in jobs:
                if not job.has_ended:
                    self._job_manager.cancel(job.id)
        except PipelineError as error:
            _log.warning("The Flink jobs of %s may still run: %s", self._step, error)
            self.error = self.error or PipelineError(f"{self._step} failed. {error}")
            return None
        return next((job for job in jobs if job.state == "FAILED"), None)

    def explain(self, job: Job) -> PipelineError | None:
        """Returns an error with the root cause of a failed job; None if the cluster cannot be reached."""
        try:
            failures = self._job_manager.failures(job.id)
            lost = sorted(self._task_managers.keys() - self._job_manager.task_managers().keys())
        except PipelineError:
            return None
        task_manager = next((task_manager for _, task_manager in failures if task_manager), None)
        if lost:  # the failed tasks are those of the others, which have lost their connections
            where = f" after the loss of the TaskManager {', '.join(lost)}"
        else:
            where = f" on the TaskManager {task_manager}" if task_manager else ""
        cause = root_cause(failures[0][0]) if failures else "unknown cause"
        return PipelineError(f"{self._step} failed on Flink{where}: {cause}. {self._see(job)}")

    def _jobs(self) -> list[Job]:
        return [job for job in self._job_manager.jobs(self._name) if job.id not in self._earlier_jobs]

    def _user_error(self, job: Job) -> PipelineError | None:
        """Returns the user's error that makes tasks fail: Flink would repeat them in vain."""
        for stack_trace, _ in self._job_manager.failures(job.id):
            if error := find_user_error(Exception(stack_trace)):
                return error
        return None

    def _idle_error(self, job: Job, seconds: float) -> PipelineError | None:
        limit = self._flink.idle_timeout_seconds
        if seconds < limit:
            return None
        if self._flink.environment == "external":
            cure = (
                f"check that a worker pool runs at {self._flink.worker_pool} beside each TaskManager, with "
                "the folder of this project's Python first in PATH"
            )
        else:
            cure = "check that the TaskManagers run on this machine"
        return PipelineError(
            f"{self._step} was cancelled, because its Flink job made no progress for {limit} seconds "
            f"(beam.flink.idle_timeout_seconds); if no Beam worker answers, {cure}. {self._see(job)}"
        )

    def _see(self, job: Job) -> str:
        return f"The job: {self._job_manager.page(job)}"


def root_cause(stack_trace: str) -> str:
    """Returns the first line of the innermost exception: of Python's, if a worker raised it, else of Java's.

    Args:
        stack_trace: A Java stack trace, whose messages may quote a Python traceback.
    """
    traceback = _TRACEBACK.search(stack_trace)
    if traceback:
        return remove_beam_suffix(traceback[1])
    if "NoResourceAvailableException" in stack_trace:  # whose innermost cause is a mere time-out
        return "Flink found no free task slot in time"
    causes = _JAVA_EXCEPTION.findall(stack_trace)
    return causes[-1] if causes else stack_trace.partition("\n")[0]
