"""A client of a Flink cluster's REST service, which its JobManager runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import urllib3

from components.errors import InputError, PipelineError

_TIMEOUT = urllib3.Timeout(connect=3, read=5)  # seconds; Flink's own web page polls the same resources
_ENDED = frozenset({"FINISHED", "CANCELED", "FAILED"})


@dataclass(frozen=True)
class Cluster:
    """What a cluster offers.

    Attributes:
        version: Flink's version, such as 1.19.3.
        slots: Number of task slots of all TaskManagers.
        free_slots: Number of those without a job.
        adds_task_managers: Whether it starts TaskManagers for a job.
    """

    version: str
    slots: int
    free_slots: int
    adds_task_managers: bool


@dataclass(frozen=True)
class Job:
    """A job's name and state; `has_ended` is True if the state cannot change any more."""

    id: str
    name: str
    state: str

    @property
    def has_ended(self) -> bool:
        """True if it has finished, failed or been cancelled."""
        return self.state in _ENDED


@dataclass(frozen=True)
class JobProgress:
    """How far a job is; of two equal ones, nothing has happened in between.

    Attributes:
        state: The job's state, such as RUNNING.
        finished_tasks: Number of subtasks that have finished.
        tasks: Number of all subtasks.
        records: Number of records that all subtasks have written.
        task_states: The states of all subtasks.
        bytes: Bytes that all subtasks have read or written.
    """

    state: str
    finished_tasks: int
    tasks: int
    records: int
    task_states: tuple[tuple[str, int], ...]
    bytes: int


@dataclass(frozen=True)
class TaskFailure:
    """Why a task failed.

    Attributes:
        stack_trace: The Java exception with its causes.
        task_manager: Id of the TaskManager that ran the task; None if no task had started.
    """

    stack_trace: str
    task_manager: str | None


class JobManager:
    """The REST service of a cluster.

    Args:
        address: `HOST:PORT`.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=False)

    def cluster(self) -> Cluster:
        """Reads the version and the task slots."""
        overview = self._get("/overview")
        settings = {entry["key"] for entry in self._get("/jobmanager/config")}
        try:
            return Cluster(
                overview["flink-version"],
                overview["slots-total"],
                overview["slots-available"],
                adds_task_managers="kubernetes.cluster-id" in settings,
            )
        except KeyError:
            raise self._no_job_manager() from None

    def task_managers(self) -> dict[str, str]:
        """Returns the hosts of the TaskManagers by their ids."""
        managers = self._get("/taskmanagers")["taskmanagers"]
        return {manager["id"]: manager["path"].partition("@")[2].rpartition(":")[0] for manager in managers}

    def jobs(self, name_prefix: str) -> list[Job]:
        """Returns the jobs whose name has this prefix, ended ones included, in the order of their start."""
        jobs = sorted(self._get("/jobs/overview")["jobs"], key=lambda job: job["start-time"])
        return [
            Job(job["jid"], job["name"], job["state"]) for job in jobs if job["name"].startswith(name_prefix)
        ]

    def progress(self, job_id: str) -> JobProgress:
        """Reads how far a job is."""
        job = self._get(f"/jobs/{job_id}")
        metrics = [vertex["metrics"] for vertex in job["vertices"]]
        states: dict[str, int] = {}
        for vertex in job["vertices"]:
            for state, count in vertex["tasks"].items():
                states[state] = states.get(state, 0) + count
        return JobProgress(
            job["state"],
            states.get("FINISHED", 0),
            sum(vertex["parallelism"] for vertex in job["vertices"]),
            sum(metric["write-records"] for metric in metrics),
            tuple(sorted(states.items())),
            sum(metric["read-bytes"] + metric["write-bytes"] for metric in metrics),
        )

    def failures(self, job_id: str) -> list[TaskFailure]:
        """Returns the failures of a job, the last one first."""
        history = self._get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        failures = [failure for entry in history for failure in (entry, *entry["concurrentExceptions"])]
        return [TaskFailure(failure["stacktrace"], failure.get("taskManagerId")) for failure in failures]

    def cancel(self, job_id: str) -> None:
        """Requests the cancellation of a job; one that has ended stays as it is."""
        self._http.request("PATCH", f"http://{self._address}/jobs/{job_id}?mode=cancel")

    def page(self, job: Job) -> str:
        """Returns the address of the page about a job."""
        return f"http://{self._address}/#/job/{'completed' if job.has_ended else 'running'}/{job.id}/overview"

    def _get(self, path: str) -> Any:
        """Reads a resource.

        Raises:
            PipelineError: Nothing answers at the address.
            InputError: What answers is not Flink.
        """
        try:
            response = self._http.request("GET", f"http://{self._address}{path}")
            if response.status < 400:
                return response.json()
        except (urllib3.exceptions.TimeoutError, urllib3.exceptions.NewConnectionError) as error:
            is_silent = isinstance(error, urllib3.exceptions.TimeoutError)
            reason = "no answer within seconds" if is_silent else getattr(error.__cause__, "strerror", error)
            raise PipelineError(
                f"Flink's JobManager cannot be reached at {self._address} ({reason}): start the cluster, or "
                "set beam.flink.master to its REST service."
            ) from error
        except (urllib3.exceptions.HTTPError, ValueError):
            pass
        raise self._no_job_manager()

    def _no_job_manager(self) -> InputError:
        return InputError(
            f"The service at {self._address} is not the REST service of a Flink JobManager: set "
            "beam.flink.master to HOST:PORT of that service, whose port is usually 8081."
        )
