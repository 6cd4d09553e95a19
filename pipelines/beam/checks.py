"""Prepares a Flink cluster for a run, with quick checks."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from typing import get_args

from components.errors import InputError, PipelineError
from pipelines.beam.flink import JobManager
from pipelines.beam.jobs import cancel_stale_jobs
from pipelines.settings.beam import BeamConfig, FlinkConfig, FlinkVersion

_JAVA_VERSION = 11  # that Beam's job server needs
_TIMEOUT_SECONDS = 5.0


def prepare_cluster(beam: BeamConfig, name_prefix: str) -> tuple[BeamConfig, list[str]]:
    """Cancels the jobs that a killed run has left, and checks that jobs can run; usually within a second.

    Args:
        beam: The settings, with the runner `flink`.
        name_prefix: What the names of the run's jobs start with; no other run may be using it.

    Returns:
        The settings with the cluster's version, and with the number of its free task slots as parallelism
        unless they name one; and the names of the cancelled jobs.

    Raises:
        InputError: A setting is missing or does not fit the cluster.
        PipelineError: The cluster or the job server cannot be reached, too few task slots are free, or there
            is no Java.
    """
    flink = beam.flink
    if flink.master is None:
        raise InputError(
            "The setting beam.runner is flink, but beam.flink.master is missing: set it to HOST:PORT of the "
            "JobManager's REST service, such as localhost:8081."
        )
    if flink.job_endpoint:
        _check_job_server(flink.job_endpoint)
    else:
        _check_jar(flink)
        _check_java()
    job_manager = JobManager(flink.master)
    version = _check_version(flink, job_manager.cluster().version)
    cancelled = cancel_stale_jobs(job_manager, name_prefix)
    if cancelled:
        time.sleep(1)  # their task slots become free a moment later
    cluster = job_manager.cluster()
    _check_slots(flink, cluster.slots, cluster.free_slots)
    if flink.environment == "loopback":
        _check_on_this_machine(job_manager.task_managers().values())
    parallelism = flink.parallelism or cluster.free_slots
    checked = flink.model_copy(update={"version": version, "parallelism": parallelism})
    return beam.model_copy(update={"flink": checked}), cancelled


def _check_job_server(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _TIMEOUT_SECONDS).close()
    except OSError as error:
        raise PipelineError(
            f"Beam's job server cannot be reached at {address} ({error.strerror or error}): start it, or "
            "remove beam.flink.job_endpoint to let the run start one here, which needs Java."
        ) from error


def _check_jar(flink: FlinkConfig) -> None:
    if flink.job_server_jar and not flink.job_server_jar.is_file():
        raise InputError(
            f"The setting beam.flink.job_server_jar is {flink.job_server_jar}, which is not a file: set it "
            "to the jar of Beam's job server for Flink, or remove it to let Beam download that."
        )


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java")  # as Beam looks for it
    if java is None:
        found = f"JAVA_HOME is {home}, which has none" if home else "there is none in PATH"
    else:
        text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
        match = re.search(r'version "(?:1\.)?(\d+)', text)
        if match and int(match[1]) >= _JAVA_VERSION:
            return
        found = f"{java} is {f'version {match[1]}' if match else 'of no known version'}"
    raise PipelineError(
        f"Beam's job server needs Java {_JAVA_VERSION} or newer, but {found}: install it (Debian: apt-get "
        "install default-jre-headless), or set beam.flink.job_endpoint to a job server that runs elsewhere."
    )


def _check_version(flink: FlinkConfig, version: str) -> str:
    """Returns the cluster's version without its last part."""
    found = ".".join(version.split(".")[:2])
    if flink.version and flink.version != found:
        raise InputError(
            f"The setting beam.flink.version is {flink.version}, but the cluster at {flink.master} runs "
            f"Flink {version}: set it to {found}, or remove it."
        )
    supported = get_args(get_args(FlinkVersion)[0])
    if found not in supported:
        raise InputError(
            f"The cluster at {flink.master} runs Flink {version}, which Beam does not support: use one of "
            f"{', '.join(supported)}."
        )
    return found


def _check_slots(flink: FlinkConfig, slots: int, free_slots: int) -> None:
    if not slots:
        raise PipelineError(
            f"The Flink cluster at {flink.master} has no TaskManager: start one, and see its log if it "
            "does not appear."
        )
    needed = flink.parallelism or 1
    if free_slots < needed:
        raise PipelineError(
            f"{free_slots} of the {slots} task slots of the Flink cluster at {flink.master} are free, and a "
            f"job takes {needed}: wait until other jobs have ended, start another TaskManager, or lower "
            "beam.flink.parallelism."
        )


def _check_on_this_machine(hosts: Iterable[str]) -> None:
    for host in hosts:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))  # works for the addresses of this machine only
            continue
        raise InputError(
            f"The setting beam.flink.environment is loopback, but a TaskManager is on {host}, not on this "
            "machine, and cannot reach Beam's workers here: start a worker pool beside each TaskManager, and "
            "set beam.flink.environment=external."
        )
