"""Uploads a compiled pipeline to Kubeflow Pipelines and starts a run or a recurring run."""

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
from pipelines.kubeflow.connection import KfpClient, Login, connect, suppress_kfp_output
from pipelines.kubeflow.package import OVERRIDE, Package, read_package, read_parameters
from pipelines.settings import pipeline_root
from pipelines.settings.errors import did_you_mean

DEFAULT_EXPERIMENT = "KF_PIPELINES_DEFAULT_EXPERIMENT_NAME"  # KFP's own


@dataclass(frozen=True)
class SubmitOptions:
    """Options of `catsdogs submit`.

    Attributes:
        file: The compiled pipeline.
        login: The server and the credentials.
        experiment: The experiment; None means KF_PIPELINES_DEFAULT_EXPERIMENT_NAME, else `Default`, which is
            created if it does not exist.
        create_experiment: Create the named experiment if it does not exist.
        run_name: Name of the run or the recurring run; None derives it from the pipeline's name.
        parameters: `NAME=VALUE` texts.
        pipeline_root: Pipeline root of this run; None means the one in the file.
        no_cache: Execute every task, without cached results.
        schedule: Cron expression of a recurring run; None starts one run now.
        wait: Wait until the run ends.
        resubmit: With `wait`, how often to submit the same again after a failure that may not occur again.
        namespace: The user's namespace; None means the one in KFP's context file, if any.
        service_account: Service account of the pods; None means the server's default.
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
    resubmit: int = 0
    namespace: str | None = None
    service_account: str | None = None


def submit(options: SubmitOptions, console: Console) -> int:
    """Uploads a compiled pipeline and creates a run or a recurring run of it.

    Args:
        options: The options; checked before anything is sent.
        console: The console to print to.

    Returns:
        The exit status: 0, or with `wait` the one of the last run's `Outcome`.

    Raises:
        InputError: The file, a parameter, the schedule, the endpoint or the experiment is wrong.
        ServerError: The server cannot be reached or refuses a request.
    """
    # An unset shell variable gives an empty option; an empty --schedule would start a run at once.
    for name, value in (vars(options) | vars(options.login)).items():
        if isinstance(value, str) and not value.strip():
            raise InputError(f"--{name.replace('_', '-')} is empty: set a value or omit the option.")
    package = read_package(options.file)
    parameters = read_parameters(options.parameters, package)
    cron = schedule.parse_cron(options.schedule) if options.schedule else None
    if cron and (options.wait or options.no_cache):
        raise InputError(
            "--schedule creates a recurring run, but --wait and --no-cache apply to a single run: omit them."
        )
    if options.resubmit and not options.wait:
        raise InputError(f"--resubmit {options.resubmit} needs --wait, which finds out how the run ended.")
    others = [f"--param {name}" for name in parameters if name != OVERRIDE]
    if OVERRIDE in parameters and (cron or options.no_cache or others):
        raise InputError(
            f"--param {OVERRIDE} blesses the model of a run that a person has reviewed: omit the options "
            f"that produce another model ({', '.join(others) or '--schedule, --no-cache'})."
        )
    job: dict[str, Any] = {
        "params": parameters,
        "pipeline_root": _pipeline_root(options, package),
        "service_account": options.service_account,
    }

    client = connect(options.login)
    if options.namespace and not client.get_kfp_healthz().multi_user:
        raise InputError(
            f"--namespace {options.namespace} has no effect: this server is for a single user and runs all "
            "pods in its own namespace; omit the option."
        )
    namespace = options.namespace or client.get_user_namespace() or None
    job["experiment_id"] = _experiment_id(client, options, namespace)
    if options.no_cache:  # KFP refuses enable_caching together with a version reference
        job |= {"pipeline_package_path": str(package.path), "enable_caching": False}
    else:
        job |= _upload(client, package, namespace, console)
    if cron:
        schedule.create_recurring_run(client, cron, options.run_name or package.name, namespace, job, console)
        return 0
    name = options.run_name or f"{package.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    for resubmitted in range(options.resubmit + 1):
        with suppress_kfp_output():
            run = client.run_pipeline(job_name=name, **job)
        link = client.link(f"runs/details/{run.run_id}")
        print_line(console, f"Run {run.run_id} ({name}) has started: {link}")
        if not options.wait:
            return 0
        outcome = watch.RunWatch(client, run.run_id, package.tasks, namespace or "kubeflow", console).wait()
        if not outcome.may_succeed or resubmitted == options.resubmit:
            break
        print_line(console, f"Submitting the same again ({resubmitted + 1} of {options.resubmit}).")
    return outcome.status


def _pipeline_root(options: SubmitOptions, package: Package) -> str:
    root = options.pipeline_root or package.pipeline_root
    if not root:
        raise InputError(f"The file {package.path} has no pipeline root: add --pipeline-root.")
    try:
        return pipeline_root.check_pipeline_root(root)
    except ValueError as error:
        raise InputError(f"The pipeline root {error}.") from None


def _experiment_id(client: KfpClient, options: SubmitOptions, namespace: str | None) -> str:
    name = options.experiment or os.environ.get(DEFAULT_EXPERIMENT) or "Default"
    experiments = client.list_experiments(filter=schedule.name_filter(name), namespace=namespace).experiments
    if experiments and experiments[0].storage_state == "ARCHIVED":
        raise InputError(
            f"The experiment {name!r} is archived: restore it in the user interface, or choose another."
        )
    if not experiments and options.experiment and not options.create_experiment:
        others = client.list_experiments(page_size=200, namespace=namespace).experiments or []
        names = [other.display_name for other in others if other.storage_state != "ARCHIVED"]
        raise InputError(
            f"There is no experiment {name!r}.{did_you_mean(name, names) if names else ''} To create it, add "
            "--create-experiment."
        )
    if not experiments:
        with suppress_kfp_output():
            experiments = [client.create_experiment(name, namespace=namespace)]
    return str(experiments[0].experiment_id)


def _upload(client: KfpClient, package: Package, namespace: str | None, console: Console) -> dict[str, str]:
    """Uploads the file as a version of the pipeline, unless the server already has this version."""
    pipelines = client.list_pipelines(
        filter=schedule.name_filter(package.name), namespace=namespace
    ).pipelines
    if pipelines:
        pipeline = pipelines[0]
    else:
        pipeline = client.pipelines.pipeline_service_create_pipeline(
            client.api_models.V2beta1Pipeline(
                name=package.name, display_name=package.name, namespace=namespace
            )
        )
    pipeline_id = pipeline.pipeline_id
    versions = client.list_pipeline_versions(pipeline_id, filter=schedule.name_filter(package.version))
    if versions.pipeline_versions:
        version = versions.pipeline_versions[0]
        print_line(console, f"Pipeline {package.name} already has this file as version {package.version}.")
    else:
        with suppress_kfp_output():
            version = client.upload_pipeline_version(
                str(package.path), package.version, pipeline_id=pipeline_id
            )
        print_line(
            console, f"Uploaded {package.path} as version {package.version} of pipeline {package.name}."
        )
    return {"pipeline_id": pipeline_id, "version_id": version.pipeline_version_id}
