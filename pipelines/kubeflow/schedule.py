"""Recurring runs of Kubeflow Pipelines: one for each pipeline and name, however often it is submitted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from components.errors import InputError
from pipelines.console import print_line

if TYPE_CHECKING:
    from pipelines.kubeflow.connection import Client

_EQUALS = 1  # in KFP's filters


def parse(text: str) -> str:
    """Returns a cron text for KFP's server, which checks the values of its fields.

    Args:
        text: Six fields, the seconds first, or a shorthand such as `@daily`.

    Raises:
        InputError: It has another number of fields, or starts a run every second. The server takes five as
            well, and reads crontab's `0 3 * * *` as minute 3 of every hour.
    """
    cron = " ".join(text.split())
    count = len(cron.split())
    if count == 6 and cron.startswith("*"):
        raise InputError(
            f"--schedule {text!r} starts a run every second: put a number, such as 0, into the first field."
        )
    if cron.startswith("@") or count == 6:
        return cron
    if count == 5:
        raise InputError(
            f"--schedule {text!r} has five fields, and Kubeflow's begin with the seconds: '0 {cron}'."
        )
    raise InputError(
        f"--schedule {text!r} has {count} fields, and must have six: second, minute, hour, day of the month, "
        "month, day of the week, such as '0 0 3 * * *' for 03:00 every day."
    )


def named(name: str) -> str:
    """Returns a filter of KFP's lists: what has this name."""
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "stringValue": name}]})


def create(
    client: Client, cron: str, name: str, namespace: str | None, job: Mapping[str, Any], console: Console
) -> None:
    """Creates a recurring run, in the place of those of the pipeline that have this name.

    Args:
        client: The connection.
        cron: When it runs.
        name: What it is called.
        namespace: Whose it is, where the server has many users.
        job: What it runs, as `kfp.Client.create_recurring_run` takes it.
        console: Where to say what was done.
    """
    active = _active(client, name, namespace, job["pipeline_id"])
    same = next((other for other in active if _is_same(other, cron, job)), None)
    recurring = same or client.create_recurring_run(
        job_name=name, cron_expression=cron, no_catchup=True, max_concurrency=1, **job
    )
    what = "is there already, and stays" if same else "is set up"
    link = client.link(f"recurringrun/details/{recurring.recurring_run_id}")
    print_line(console, f"Recurring run {recurring.recurring_run_id} ({name}, {cron!r}) {what}: {link}")
    # Only once the new one is there: better two for a moment than none.
    for other in active:
        if other is not same:
            client.disable_recurring_run(other.recurring_run_id)
            print_line(
                console,
                f"It replaces {other.recurring_run_id} ({_cron(other)!r}), which is disabled; to go back: "
                f"kfp recurring-run enable {other.recurring_run_id}",
            )


def _active(client: Client, name: str, namespace: str | None, pipeline_id: str) -> list[Any]:
    """Returns the recurring runs of a pipeline that are enabled under a name, in whatever experiment."""
    listed: list[Any] = []
    page: str | None = ""
    while page is not None:
        response = client.list_recurring_runs(
            page_token=page, page_size=200, namespace=namespace, filter=named(name)
        )
        listed += response.recurring_runs or ()
        page = response.next_page_token or None
    return [
        one
        for one in listed
        if one.status == "ENABLED"
        and one.pipeline_version_reference
        and one.pipeline_version_reference.pipeline_id == pipeline_id
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
