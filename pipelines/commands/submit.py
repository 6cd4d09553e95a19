"""The command `catsdogs submit`; heavy imports are inside the function so that `--help` is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def submit(
    file: Annotated[
        Path,
        typer.Argument(metavar="PIPELINE.YAML", help="The file from catsdogs compile.", show_default=False),
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="URL of Kubeflow Pipelines. Default: $KF_PIPELINES_ENDPOINT."),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Experiment of the run. Default: the one named Default."),
    ] = None,
    create_experiment: Annotated[
        bool, typer.Option("--create-experiment", help="Create the experiment if it does not exist.")
    ] = False,
    run_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the run or schedule. Default: from the pipeline."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Set a run parameter, e.g. max_rejected_fraction=0.05. Repeatable."
        ),
    ] = None,
    pipeline_root: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Artifact root: gs://, s3:// or minio://. Default: from the file."),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run every task; do not reuse cached results.")
    ] = False,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="CRON",
            help="Create a recurring run; six fields, seconds first: '0 0 3 * * *' is 03:00 every day.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show progress until the run ends; exits with 1 if it fails.")
    ] = False,
    resubmit: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="With --wait: submit again, up to N times, after a failure that may not occur again, such "
            "as a deleted pod.",
        ),
    ] = 0,
    namespace: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Your namespace on a multi-user Kubeflow."),
    ] = None,
    service_account: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Service account of the pods. Default: the one configured in Kubeflow."
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="A bearer token. Default: $CATSDOGS_KUBEFLOW_TOKEN.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the token; reread for every request."),
    ] = None,
    cookies: Annotated[
        str | None,
        typer.Option(
            metavar="COOKIES", help="Cookies of a browser session. Default: $CATSDOGS_KUBEFLOW_COOKIES."
        ),
    ] = None,
    ca_cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CA certificate used to verify the server."),
    ] = None,
) -> None:
    """Run a compiled pipeline on Kubeflow Pipelines, now or on a schedule.

    The file is uploaded as a version of the pipeline; the same file is uploaded only once.

    Exit status: 0 submitted, or succeeded with --wait; 2 invalid usage; 130 interrupted (the run continues);
    1 any other error.
    """
    from pipelines.console import PrintableConsole
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
        resubmit=resubmit,
        namespace=namespace,
        service_account=service_account,
    )
    try:
        status = submit_pipeline(options, PrintableConsole())
    except KeyboardInterrupt:
        typer.echo("Interrupted; check the list of runs to see whether a run was created.", err=True)
        status = 130
    raise typer.Exit(status)
