"""Hands a compiled pipeline to Kubeflow Pipelines, for one run or for recurring ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from components.errors import InputError
from pipelines.console import print_line
from pipelines.kubeflow import schedule, watch
from pipelines.kubeflow.connection import Client, Login, connect, quiet
from pipelines.kubeflow.package import OVERRIDE, Package, read, read_parameters
from pipelines.settings import pipeline_root
from pipelines.settings.errors import nearest

DEFAULT_EXPERIMENT = "KF_PIPELINES_DEFAULT_EXPERIMENT_NAME"  # KFP's own


@dataclass(frozen=True)
class SubmitOptions:
    """What the user typed after `catsdogs submit`.

    Attributes:
        file: The compiled pipeline.
        login: Where to, and as whom.
        experiment: None means KF_PIPELINES_DEFAULT_EXPERIMENT_NAME, else `Default`, which is made if need be.
        create_experiment: Whether an experiment that was named is made if need be, too.
        run_name: Of the run or the recurring run; None means after the pipeline.
        parameters: `NAME=VALUE` texts.
        pipeline_root: None means the file's.
        no_cache: Whether every step executes, whatever earlier runs have found.
        schedule: Cron text of a recurring run; None means now, once.
        wait: Whether to stay until the run ends.
        namespace: The user's namespace; None means that of KFP's context file, if any.
        service_account: What the pods run as; None means the server's choice.
    """

    file: Path
    login: Login = field(default_factory=Login)
    experiment: str | None = None
    create_experiment: bool = False
    run_name: str | None = None
    parameters: Sequence[str] = ()
    pipeline_root: str | None = None
    no_cache: bool = False
    schedule: str | None = None
    wait: bool = False
    namespace: str | None = None
    service_account: str | None = None


def submit(options: SubmitOptions, console: Console) -> int:
    """Uploads a compiled pipeline and creates a run or a recurring run of it.

    Args:
        options: What is wanted; checked before anything is sent.
        console: Where to say what was done.

    Returns:
        The exit status: 0, or with `wait` as `watch.wait`.

    Raises:
        InputError: The file, a parameter, the schedule, the endpoint or the experiment is wrong.
        ServerError: The server cannot be reached or refuses.
    """
    # What an unset variable of a shell makes of an option: without a schedule, a run would start.
    for name, value in (vars(options) | vars(options.login)).items():
        if isinstance(value, str) and not value.strip():
            raise InputError(
                f"--{name.replace('_', '-')} is empty: give it a value, or leave the option out."
            )
    package = read(options.file)
    parameters = read_parameters(options.parameters, package)
    cron = schedule.parse(options.schedule) if options.schedule else None
    if cron and (options.wait or options.no_cache):
        raise InputError(
            "--schedule sets up many runs, and --wait and --no-cache are for one: leave them out."
        )
    others = [f"--param {name}" for name in parameters if name != OVERRIDE]
    if OVERRIDE in parameters and (cron or options.no_cache or others):
        raise InputError(
            f"--param {OVERRIDE} is for the model of a run that somebody has looked at: leave out what makes "
            f"another one ({', '.join(others) or '--schedule, --no-cache'})."
        )
    job: dict[str, Any] = {
        "params": parameters,
        "pipeline_root": _pipeline_root(options, package),
        "service_account": options.service_account,
    }

    client = connect(options.login)
    namespace = options.namespace or client.get_user_namespace() or None
    job["experiment_id"] = _experiment_id(client, options, namespace)
    if options.no_cache:  # which KFP does not take with a reference to a version
        job |= {"pipeline_package_path": str(package.path), "enable_caching": False}
    else:
        job |= _upload(client, package, namespace, console)
    if cron:
        schedule.create(client, cron, options.run_name or package.name, namespace, job, console)
        return 0
    name = options.run_name or f"{package.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    with quiet():
        run = client.run_pipeline(job_name=name, **job)
    print_line(
        console, f"Run {run.run_id} ({name}) is on its way: {client.link(f'runs/details/{run.run_id}')}"
    )
    if not options.wait:
        return 0
    return watch.wait(client, run.run_id, package.steps, namespace or "kubeflow", console)


def _pipeline_root(options: SubmitOptions, package: Package) -> str:
    root = options.pipeline_root or package.pipeline_root
    if not root:
        raise InputError(f"The file {package.path} names no pipeline root: give --pipeline-root.")
    try:
        return pipeline_root.check(root)
    except ValueError as error:
        raise InputError(f"The pipeline root {error}.") from None


def _experiment_id(client: Client, options: SubmitOptions, namespace: str | None) -> str:
    name = options.experiment or os.environ.get(DEFAULT_EXPERIMENT) or "Default"
    found = client.list_experiments(filter=schedule.named(name), namespace=namespace).experiments
    if found and found[0].storage_state == "ARCHIVED":
        raise InputError(
            f"The experiment {name!r} is archived: restore it in the user interface, or name another."
        )
    if not found and options.experiment and not options.create_experiment:
        others = client.list_experiments(page_size=200, namespace=namespace).experiments or []
        names = [other.display_name for other in others if other.storage_state != "ARCHIVED"]
        raise InputError(
            f"There is no experiment {name!r}.{nearest(name, names) if names else ''} To make it, add "
            "--create-experiment."
        )
    if not found:
        with quiet():
            found = [client.create_experiment(name, namespace=namespace)]
    return str(found[0].experiment_id)


def _upload(client: Client, package: Package, namespace: str | None, console: Console) -> dict[str, str]:
    """Uploads the file as a version of the pipeline, unless the server has this very version."""
    found = client.list_pipelines(filter=schedule.named(package.name), namespace=namespace).pipelines
    if found:
        pipeline = found[0]
    else:
        pipeline = client.pipelines.pipeline_service_create_pipeline(
            client.api_models.V2beta1Pipeline(
                name=package.name, display_name=package.name, namespace=namespace
            )
        )
    pipeline_id = pipeline.pipeline_id
    versions = client.list_pipeline_versions(pipeline_id, filter=schedule.named(package.version))
    if versions.pipeline_versions:
        version = versions.pipeline_versions[0]
        print_line(console, f"Pipeline {package.name} has this file as its version {package.version}.")
    else:
        with quiet():
            version = client.upload_pipeline_version(
                str(package.path), package.version, pipeline_id=pipeline_id
            )
        print_line(
            console, f"Uploaded {package.path} as version {package.version} of pipeline {package.name}."
        )
    return {"pipeline_id": pipeline_id, "version_id": version.pipeline_version_id}
