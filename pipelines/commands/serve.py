"""`catsdogs serve`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.console import silence_stderr
from serving.errors import UsageError
from serving.local.limits import RequestLimits

if TYPE_CHECKING:
    from rich.console import Console

    from serving.local.server import Options, Ports

_PATIENCE_SECONDS = 2  # before it is said that a model is still being loaded
_DEFAULTS = RequestLimits()


def serve(
    model_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with a sub-folder a version. Else output/serving_model/<model name>.",
        ),
    ] = None,
    model_name: Annotated[
        str, typer.Option(metavar="NAME", help="What requests call the model.")
    ] = "catsdogs",
    model_config_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A models.config of TensorFlow Serving, for several models."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 is every network of this machine."),
    ] = "127.0.0.1",
    rest_port: Annotated[
        int, typer.Option(min=0, max=65535, help="HTTP's port, for REST and the page; 0 is a free one.")
    ] = 8501,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC's port; 0 is a free one.")] = 8500,
    max_body_bytes: Annotated[
        int, typer.Option(min=1, help="Largest request that is read.")
    ] = _DEFAULTS.max_body_bytes,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Largest picture, width times height, that is decoded.")
    ] = _DEFAULTS.max_pixels,
) -> None:
    """Serve pushed models on this machine, for development and tests, over REST, gRPC and a page.

    It speaks as TensorFlow Serving does, and is not TensorFlow Serving: production wants the real one
    (docs/serving.md). New versions are taken up, and withdrawn ones let go, while it runs.

    Exit status: 0 stopped by Ctrl-C or SIGTERM, with all requests answered; 2 bad usage; 130 interrupted
    twice, or before it served; 1 anything else.
    """
    from rich.console import Console

    from serving.local.server import Options

    console = Console(highlight=False)
    folder = model_dir or Path("output/serving_model") / model_name
    if model_config_file is None:
        _check(folder)
    limits = RequestLimits(max_body_bytes=max_body_bytes, max_pixels=max_pixels)
    try:
        _serve(console, model_name, folder, model_config_file, Options(host, rest_port, grpc_port, limits))
    except KeyboardInterrupt:  # before the server was there, or once more while it was stopping
        console.print("Interrupted.")
        raise typer.Exit(130) from None


def _serve(
    console: Console, model_name: str, folder: Path, config_file: Path | None, options: Options
) -> None:
    from serving.local import server

    server.check_ports(options)
    console.print(
        "This is catsdogs' own server for development and tests; it is not TensorFlow Serving.",
        soft_wrap=True,
    )
    if not server.is_loopback(options.host):
        console.print(
            f"Listening on {options.host}: whoever reaches this machine may send requests, and nothing is "
            "encrypted.",
            style="yellow",
            soft_wrap=True,
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with console.status("Starting TensorFlow …"), silence_stderr():
        from serving.local.models import Models, configs
    _log_to(console)
    server.serve(
        Models(configs(model_name, folder, config_file)),
        options,
        ready=lambda ports: _say_ready(console, options.host, ports),
        waiting=lambda seconds: _say_waiting(console, seconds),
    )
    console.print("Stopped; every request that was under way is answered.")


def _check(folder: Path) -> None:
    if not folder.exists():
        raise UsageError(
            f"The model's folder {folder} does not exist: catsdogs run pushes a model, "
            "and --model-dir names another folder."
        )
    if not folder.is_dir():
        raise UsageError(f"The model's folder {folder} is a file: name the folder that holds the versions.")
    if (folder / "saved_model.pb").exists():
        raise UsageError(
            f"The folder {folder} is one version of a model: name the folder around it, {folder.parent}."
        )


def _log_to(console: Console) -> None:
    """Shows what the server says of versions that come and go."""
    import logging

    from rich.logging import RichHandler

    handler = RichHandler(console=console, show_path=False, show_level=False, log_time_format="%X")
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(message)s")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _say_waiting(console: Console, seconds: float) -> None:
    if seconds >= _PATIENCE_SECONDS:
        console.print(f"Still loading, {seconds:.0f} s so far …")


def _say_ready(console: Console, host: str, ports: Ports) -> None:
    shown = f"[{host}]" if ":" in host else host
    console.print(f"REST and the page: http://{shown}:{ports.rest}/", soft_wrap=True)
    console.print(f"gRPC:              {shown}:{ports.grpc}", soft_wrap=True)
