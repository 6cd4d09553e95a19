"""Creates recurring runs on Kubeflow Pipelines; submitting one again does not duplicate it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from components.errors import InputError
from pipelines.console import print_line

if TYPE_CHECKING:
    from pipelines.kubeflow.connection import KfpClient

_EQUALS = 1  # in KFP's filters


def parse_cron(text: str) -> str:
    """Returns a cron expression for KFP's server, which validates the values of its fields.

    Args:
        text: Six fields, the seconds first, or a shorthand such as `@daily`.

    Raises:
        InputError: It does not have six fields, or it starts a run every second. The server also accepts five
            fields but reads crontab's `0 3 * * *` as minute 3 of every hour.
    """
    cron = " ".join(text.split())
    count = len(cron.split())
    if count == 6 and cron.startswith("*"):
        raise InputError(
            f"--schedule {text!r} starts a run every second: set the first field to a number, such as 0."
        )
    if cron.startswith("@") or count == 6:
        return cron
    if count == 5:
        raise InputError(
            f"--schedule {text!r} has five fields, but Kubeflow expects seconds first: use '0 {cron}'."
        )
    raise InputError(
        f"--schedule {text!r} has {count} fields but must have six: second, minute, hour, day of the month, "
        "month, day of the week, such as '0 0 3 * * *' for 03:00 every day."
    )


def name_filter(name: str) -> str:
    """Returns a filter for KFP's list requests that matches a display name."""
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "stringValue": name}]})


def create_recurring_run(
    client: KfpClient, cron: str, name: str, namespace: str | None, job: Mapping[str, Any], console: Console
) -> None:
    """Creates a recurring run and disables the pipeline's other recurring runs of the same name.

    Args:
        client: The connection.
        cron: The cron expression.
        name: Name of the recurring run.
        namespace: The namespace on a multi-user server.
        job: Arguments for `kfp.Client.create_recurring_run`.
        console: The console to print to.
    """
    active = _active(client, name, namespace, job["pipeline_id"])
    same = next((other for other in active if _is_same(other, cron, job)), None)
    recurring = same or client.create_recurring_run(
        job_name=name, cron_expression=cron, no_catchup=True, max_concurrency=1, **job
    )
    action = "exists already and is unchanged" if same else "was created"
    link = client.link(f"recurringrun/details/{recurring.recurring_run_id}")
    print_line(console, f"Recurring run {recurring.recurring_run_id} ({name}, {cron!r}) {action}: {link}")
    # Disable the others last: two active schedules for a moment are better than none.
    for other in active:
        if other is not same:
            client.disable_recurring_run(other.recurring_run_id)
            print_line(
                console,
                f"It replaces {other.recurring_run_id} ({_cron(other)!r}), which is disabled; to restore it: "
                f"kfp recurring-run enable {other.recurring_run_id}",
            )


def _active(client: KfpClient, name: str, namespace: str | None, pipeline_id: str) -> list[Any]:
    """Returns the enabled recurring runs of a pipeline with this name, in all experiments."""
    listed: list[Any] = []
    page: str | None = ""
    while page is not None:
        response = client.list_recurring_runs(
            page_token=page, page_size=200, namespace=namespace, filter=name_filter(name)
        )
        listed += response.recurring_runs or ()
        page = response.next_page_token or None
    return [
        recurring
        for recurring in listed
        if recurring.status == "ENABLED"
        and recurring.pipeline_version_reference
        and recurring.pipeline_version_reference.pipeline_id == pipeline_id
    ]


def _is_same(other: Any, cron: str, job: Mapping[str, Any]) -> bool:
    config = other.runtime_config
    return bool(
        config
        and _cron(other) == cron
        and other.pipeline_version_reference.pipeline_version_id == job["version_id"]
        and other.experiment_id == job["experiment_id"]
        and (config.parameters or {}) == job["params"]
        and config.pipeline_root == job["pipeline_root"]
        and job["service_account"] in (None, other.service_account)
    )


def _cron(recurring: Any) -> str | None:
    schedule = recurring.trigger and recurring.trigger.cron_schedule
    return schedule.cron if schedule else None
