"""Hands a compiled pipeline to Kubeflow Pipelines, for one run or for recurring ones."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from components.errors import InputError
from pipelines.kubeflow import package as packages
from pipelines.kubeflow import parameters
from pipelines.kubeflow import schedule as schedules
from pipelines.kubeflow.login import Login
from pipelines.kubeflow.package import Package
from pipelines.local.display import say
from pipelines.settings_errors import nearest

if TYPE_CHECKING:
    from pipelines.kubeflow.connection import Client

DEFAULT_EXPERIMENT = "KF_PIPELINES_DEFAULT_EXPERIMENT_NAME"  # KFP's own
_EQUALS = 1  # in KFP's filters
_TIME_ZONE = "UTC, unless the cluster's CRON_SCHEDULE_TIMEZONE says otherwise"


@dataclass(frozen=True)
class Asked:
    """What `catsdogs submit` was asked for.

    Attributes:
        file: The compiled pipeline.
        login: Where to, and as whom.
        experiment: None means KF_PIPELINES_DEFAULT_EXPERIMENT_NAME, else `Default`, which is made if need be.
        create_experiment: Whether an experiment that was named is made if need be, too.
        name: Of the run or the recurring run; None means after the pipeline.
        parameters: `NAME=VALUE` texts.
        pipeline_root: None means the file's.
        no_cache: Whether every step executes, whatever earlier runs have found.
        cron: When to run again and again; None means now, once.
        wait: Whether to stay until the run ends.
        namespace: The user's namespace; None means that of KFP's context file, if any.
        service_account: What the pods run as; None means the server's choice.
    """

    file: Path
    login: Login = field(default_factory=Login)
    experiment: str | None = None
    create_experiment: bool = False
    name: str | None = None
    parameters: Sequence[str] = ()
    pipeline_root: str | None = None
    no_cache: bool = False
    cron: str | None = None
    wait: bool = False
    namespace: str | None = None
    service_account: str | None = None


def submit(asked: Asked, console: Console) -> int:
    """Checks everything that can be checked here, then uploads the pipeline and creates the run.

    Args:
        asked: What is wanted.
        console: Where to say what was done.

    Returns:
        The exit status: 0, or with `wait` as `watch.wait`.

    Raises:
        InputError: The file, a parameter, the schedule, the endpoint or the experiment is wrong.
        PipelineError: The server cannot be reached or refuses.
    """
    _refuse_empty(asked)
    if asked.cron is not None and asked.wait:
        raise InputError("--wait waits for one run, and --schedule has no end: give one of them.")
    if asked.cron is not None and asked.no_cache:
        raise InputError(
            "--no-cache is for one run: the runs of a --schedule look at the data and the code themselves."
        )
    package = packages.read(asked.file)
    how: dict[str, Any] = {
        "pipeline_root": packages.check_root(asked.pipeline_root, package),
        "params": parameters.read(asked.parameters, package),
        "service_account": asked.service_account,
    }
    if asked.no_cache and how["params"].get("reuse") == "true":
        raise InputError(
            "--no-cache takes nothing from earlier runs, and --param reuse=true would: leave one of them out."
        )
    changed = parameters.makes_another_model(how["params"])
    for option, is_given in (
        ("--schedule", asked.cron is not None),
        ("--no-cache", asked.no_cache),
        (f"--param {changed}", changed is not None),
    ):
        if is_given and parameters.OVERRIDE in how["params"]:
            raise InputError(
                f"--param override is for the model of a run that somebody has looked at, and {option} makes "
                "others: leave one of them out."
            )
    schedule = schedules.parse(asked.cron) if asked.cron is not None else None
    login = asked.login.resolved()

    from pipelines.kubeflow.connection import connect  # imports KFP, which takes its time

    client = connect(login)
    namespace = asked.namespace or client.get_user_namespace() or None
    how["experiment_id"] = _experiment(client, asked, namespace).experiment_id
    if asked.no_cache:
        # KFP takes no such wish with a reference to a version.
        how |= {"pipeline_package_path": str(package.path), "enable_caching": False}
        if "reuse" in package.parameters:
            how["params"]["reuse"] = "false"
    else:
        how |= _upload(client, package, namespace, console)
    if schedule:
        _schedule(client, schedule, asked.name or package.name, namespace, how, console)
        return 0
    name = asked.name or f"{package.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    run = client.run_pipeline(job_name=name, **how)
    say(console, f"Run {run.run_id} ({name}) is on its way: {client.link(f'runs/details/{run.run_id}')}")
    if not asked.wait:
        return 0

    from pipelines.kubeflow.watch import wait

    return wait(client, run.run_id, package.steps, namespace or "kubeflow", console)


def _refuse_empty(asked: Asked) -> None:
    """Refuses what an unset variable of a shell makes of an option: without a schedule, a run would start."""
    texts = {
        "--endpoint": asked.login.endpoint,
        "--token": asked.login.token,
        "--cookies": asked.login.cookies,
        "--experiment": asked.experiment,
        "--run-name": asked.name,
        "--pipeline-root": asked.pipeline_root,
        "--schedule": asked.cron,
        "--namespace": asked.namespace,
        "--service-account": asked.service_account,
    }
    for option, text in texts.items():
        if text is not None and not text.strip():
            raise InputError(f"{option} is empty: give it a value, or leave the option out.")


def _experiment(client: Client, asked: Asked, namespace: str | None) -> Any:
    name = asked.experiment or os.environ.get(DEFAULT_EXPERIMENT) or "Default"
    found = client.list_experiments(filter=_named(name), namespace=namespace).experiments
    if found and found[0].storage_state == "ARCHIVED":
        raise InputError(
            f"The experiment {name!r} is archived: restore it in the user interface, or name another."
        )
    if found:
        return found[0]
    if asked.experiment and not asked.create_experiment:
        others = client.list_experiments(page_size=200, namespace=namespace).experiments or []
        names = [other.display_name for other in others if other.storage_state != "ARCHIVED"]
        raise InputError(
            f"There is no experiment {name!r}.{nearest(name, names) if names else ''} To make it, add "
            "--create-experiment."
        )
    return client.create_experiment(name, namespace=namespace)


def _upload(client: Client, package: Package, namespace: str | None, console: Console) -> dict[str, str]:
    """Uploads the file as a version of the pipeline, unless the server has this very version."""
    found = client.list_pipelines(filter=_named(package.name), namespace=namespace).pipelines
    if found:
        pipeline_id = found[0].pipeline_id
    else:
        pipeline = client.api_models.V2beta1Pipeline(
            name=package.name, display_name=package.name, namespace=namespace
        )
        pipeline_id = client.pipelines.pipeline_service_create_pipeline(pipeline).pipeline_id
    versions = client.list_pipeline_versions(pipeline_id, filter=_named(package.version)).pipeline_versions
    if versions:
        version = versions[0]
        say(console, f"Pipeline {package.name} has this file as its version {package.version}.")
    else:
        version = client.upload_pipeline_version(str(package.path), package.version, pipeline_id=pipeline_id)
        say(console, f"Uploaded {package.path} as version {package.version} of pipeline {package.name}.")
    return {"pipeline_id": pipeline_id, "version_id": version.pipeline_version_id}


def _schedule(
    client: Client,
    schedule: schedules.Schedule,
    name: str,
    namespace: str | None,
    how: Mapping[str, Any],
    console: Console,
) -> None:
    """Creates a recurring run, in the place of those of the pipeline that have this name."""
    active = _active(client, name, namespace, how["pipeline_id"])
    same = next((other for other in active if _is_same(other, schedule, how)), None)
    recurring = same or client.create_recurring_run(
        job_name=name, cron_expression=schedule.cron, no_catchup=True, max_concurrency=1, **how
    )
    # Only once the new one is there: better two for a moment than none.
    replaced = [other for other in active if other is not same]
    for other in replaced:
        client.disable_recurring_run(other.recurring_run_id)
    link = client.link(f"recurringrun/details/{recurring.recurring_run_id}")
    what = "is there already, and stays" if same else "is set up"
    say(console, f"Recurring run {recurring.recurring_run_id} ({name}) {what}: {link}")
    times = ", ".join(f"{moment:%a %Y-%m-%d %H:%M:%S}" for moment in schedule.next_times(datetime.now(UTC)))
    say(console, f"{schedule.words} ({_TIME_ZONE}); next: {times}")
    for other in replaced:
        cron = other.trigger.cron_schedule.cron if other.trigger and other.trigger.cron_schedule else "?"
        say(
            console,
            f"It takes the place of {other.recurring_run_id} ({cron}), which is disabled now; to have that "
            f"back: kfp recurring-run enable {other.recurring_run_id}",
        )


def _active(client: Client, name: str, namespace: str | None, pipeline_id: str) -> list[Any]:
    """Returns the recurring runs of a pipeline that are enabled under a name, in whatever experiment."""
    listed: list[Any] = []
    page: str | None = ""
    while page is not None:
        answer = client.list_recurring_runs(
            page_token=page, page_size=200, namespace=namespace, filter=_named(name)
        )
        listed += answer.recurring_runs or ()
        page = answer.next_page_token or None
    return [
        one
        for one in listed
        if one.status == "ENABLED"
        and one.pipeline_version_reference
        and one.pipeline_version_reference.pipeline_id == pipeline_id
    ]


def _is_same(other: Any, schedule: schedules.Schedule, how: Mapping[str, Any]) -> bool:
    reference, config = other.pipeline_version_reference, other.runtime_config
    cron = other.trigger.cron_schedule if other.trigger else None
    return bool(
        reference
        and reference.pipeline_version_id == how["version_id"]
        and cron
        and cron.cron == schedule.cron
        and other.experiment_id == how["experiment_id"]
        and config
        and (config.parameters or {}) == how["params"]
        and config.pipeline_root == how["pipeline_root"]
        and (how["service_account"] is None or other.service_account == how["service_account"])
    )


def _named(name: str) -> str:
    """Returns a filter of KFP's lists."""
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "stringValue": name}]})
