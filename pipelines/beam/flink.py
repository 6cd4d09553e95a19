"""A client of a Flink cluster's REST service, which its JobManager runs."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import urllib3

from components.errors import InputError, PipelineError

_TIMEOUT = urllib3.Timeout(connect=3, read=5)  # seconds; Flink's own web page polls the same resources
_STARTING = 503  # the HTTP status while no leader is elected
_ENDED = frozenset({"FINISHED", "CANCELED", "FAILED"})


@dataclass(frozen=True)
class Cluster:
    """A cluster's version, such as 1.19.3, and the number of its task slots, in all and without a job."""

    version: str
    slots: int
    free_slots: int


@dataclass(frozen=True)
class Job:
    """A job's id, name and state, such as RUNNING."""

    id: str
    name: str
    state: str

    @property
    def has_ended(self) -> bool:
        """True if it has finished, failed or been cancelled."""
        return self.state in _ENDED


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
        try:
            return Cluster(overview["flink-version"], overview["slots-total"], overview["slots-available"])
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

    def progress(self, job_id: str) -> tuple[str, object]:
        """Returns the progress of a job as text, and counters that change while it works."""
        job = self._get(f"/jobs/{job_id}")
        states: Counter[str] = Counter()
        for vertex in job["vertices"]:
            states.update(vertex["tasks"])
        metrics = [vertex["metrics"] for vertex in job["vertices"]]
        records, read, written = (
            sum(metric[name] for metric in metrics) for name in ("write-records", "read-bytes", "write-bytes")
        )
        tasks = f"{states['FINISHED']} of {states.total()} tasks finished"
        return f"{job['state'].lower()}, {tasks}, {records:,} records", (states, read, written)

    def failures(self, job_id: str) -> list[tuple[str, str | None]]:
        """Returns the failures of a job, the last one first.

        Returns:
            The stack trace of each, with the id of the TaskManager; None if the task had not started.
        """
        history = self._get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        failures = [failure for entry in history for failure in (entry, *entry["concurrentExceptions"])]
        return [(failure["stacktrace"], failure.get("taskManagerId")) for failure in failures]

    def cancel(self, job_id: str) -> None:
        """Requests the cancellation of a job; one that has ended stays as it is.

        Raises:
            PipelineError: Nothing answers at the address.
        """
        self._request("PATCH", f"/jobs/{job_id}?mode=cancel")

    def page(self, job: Job) -> str:
        """Returns the address of the page about a job."""
        return f"http://{self._address}/#/job/{'completed' if job.has_ended else 'running'}/{job.id}/overview"

    def _get(self, path: str) -> Any:
        """Reads a resource.

        Raises:
            PipelineError: Nothing answers at the address.
            InputError: What answers is not Flink.
        """
        response = self._request("GET", path)
        if response.status == _STARTING:
            raise self._unreachable("it has not started yet")
        with contextlib.suppress(ValueError):
            if response.status < 400:
                return response.json()
        raise self._no_job_manager()

    def _request(self, method: str, path: str) -> urllib3.BaseHTTPResponse:
        try:
            return self._http.request(method, f"http://{self._address}{path}")
        except urllib3.exceptions.NewConnectionError as error:  # a TimeoutError, too
            raise self._unreachable(getattr(error.__cause__, "strerror", error)) from error
        except urllib3.exceptions.TimeoutError as error:
            raise self._unreachable("no answer within seconds") from error
        except urllib3.exceptions.HTTPError as error:
            raise self._no_job_manager() from error

    def _unreachable(self, reason: object) -> PipelineError:
        return PipelineError(
            f"Flink's JobManager cannot be reached at {self._address} ({reason}): start the cluster, or "
            "set beam.flink.master to its REST service."
        )

    def _no_job_manager(self) -> InputError:
        return InputError(
            f"The service at {self._address} is not the REST service of a Flink JobManager: set "
            "beam.flink.master to HOST:PORT of that service, whose port is usually 8081."
        )
