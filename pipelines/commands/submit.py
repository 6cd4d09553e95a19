"""The commands for Kubeflow. What they need is imported when they run, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def submit(
    file: Annotated[
        Path, typer.Argument(metavar="PIPELINE.YAML", help="What catsdogs compile wrote.", show_default=False)
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Kubeflow Pipelines' address. Else KF_PIPELINES_ENDPOINT."),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The experiment that the run belongs to. Else Default."),
    ] = None,
    create_experiment: Annotated[
        bool, typer.Option("--create-experiment", help="Make the experiment if there is none of that name.")
    ] = False,
    run_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the run, or of the schedule. Else after the pipeline."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Set a parameter: max_rejected_fraction=0.05. Repeatable."),
    ] = None,
    pipeline_root: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Where artifacts go: gs://, s3:// or minio://. Else the file's."),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Execute every step, whatever earlier runs have found.")
    ] = False,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="CRON",
            help="Run again and again; six fields, the seconds first: '0 0 3 * * *' is at 03:00.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show the steps until the run ends; exits with 1 if it fails.")
    ] = False,
    namespace: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Your namespace, where Kubeflow serves many users."),
    ] = None,
    service_account: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the pods run as. Else Kubeflow's choice."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="A bearer token. Else CATSDOGS_KUBEFLOW_TOKEN.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with the token, read anew for every request."),
    ] = None,
    cookies: Annotated[
        str | None,
        typer.Option(metavar="COOKIES", help="A browser's session. Else CATSDOGS_KUBEFLOW_COOKIES."),
    ] = None,
    ca_cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificate of the authority that signed the server's."),
    ] = None,
) -> None:
    """Run a compiled pipeline on Kubeflow Pipelines, now or on a schedule.

    The file is uploaded as a version of the pipeline; the same file again makes no second one.

    Exit status: 0 submitted, or with --wait succeeded; 2 bad usage; 130 interrupted, which leaves the run
    alone; 1 anything else.
    """
    from rich.console import Console

    from pipelines.kubeflow.connection import Login
    from pipelines.kubeflow.submit import SubmitOptions
    from pipelines.kubeflow.submit import submit as submit_pipeline

    options = SubmitOptions(
        file,
        Login(endpoint, token, token_file, cookies, ca_cert),
        experiment=experiment,
        create_experiment=create_experiment,
        run_name=run_name,
        parameters=param or (),
        pipeline_root=pipeline_root,
        no_cache=no_cache,
        schedule=schedule,
        wait=wait,
        namespace=namespace,
        service_account=service_account,
    )
    try:
        status = submit_pipeline(options, Console())
    except KeyboardInterrupt:
        typer.echo("Interrupted; the list of runs tells whether there is one already.", err=True)
        status = 130
    raise typer.Exit(status)
