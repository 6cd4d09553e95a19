"""`catsdogs serve`. Heavy imports are inside the functions, so that `--help` is fast."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.console import PrintableConsole, echo, silence_stderr
from serving.errors import UsageError
from serving.local.options import RequestLimits

if TYPE_CHECKING:
    from rich.console import Console

    from serving.local.options import ServerOptions
    from serving.local.server import Ports

_LOADING_MESSAGE_AFTER = 2  # seconds until "Still loading" is printed
_DEFAULTS = RequestLimits()


def serve(
    model_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with one sub-folder per version. Default: output/serving_model/<model name>.",
        ),
    ] = None,
    model_name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the model in requests.")
    ] = "catsdogs",
    model_config_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TensorFlow Serving's models.config, to serve several models."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all interfaces."),
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name under which clients reach the server, besides localhost, ADDRESS, this machine's host "
            "name and IP addresses; repeatable.",
        ),
    ] = None,
    rest_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for REST and the web page; 0 picks a free port.")
    ] = 8501,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for gRPC; 0 picks a free port.")
    ] = 8500,
    max_body_bytes: Annotated[
        int, typer.Option(min=1, help="Maximum size of a request.")
    ] = _DEFAULTS.max_body_bytes,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Maximum number of pixels (width times height) of an image.")
    ] = _DEFAULTS.max_pixels,
) -> None:
    """Serve pushed models on this machine over REST, gRPC and a web page, for development and tests.

    The server implements TensorFlow Serving's protocol. In production, use TensorFlow Serving
    (docs/serving.md). While it runs, it loads new versions and unloads rolled-back ones.

    Exit status: 0 stopped by Ctrl-C or SIGTERM after finishing all requests; 2 invalid usage; 130 interrupted
    twice, or before it was ready; 1 any other error.
    """
    from serving.local.options import ServerOptions

    console = PrintableConsole(highlight=False)
    folder = model_dir or Path("output/serving_model") / model_name
    if model_config_file is None:
        _check_model_dir(folder)
    for name in allow_host or ():
        if not re.fullmatch(r"[\w.-]+", name):
            raise UsageError(f"--allow-host {name!r}: expected a name such as models.example.")
    limits = RequestLimits(max_body_bytes=max_body_bytes, max_pixels=max_pixels)
    options = ServerOptions(host, rest_port, grpc_port, limits, tuple(allow_host or ()))
    try:
        _serve(console, model_name, folder, model_config_file, options)
    except KeyboardInterrupt:  # before the server was ready, or a second time while it was stopping
        console.print("Interrupted.")
        raise typer.Exit(130) from None


def _serve(
    console: Console, model_name: str, folder: Path, config_file: Path | None, options: ServerOptions
) -> None:
    from serving.local import server

    server.check_ports(options)
    console.print(
        "This is catsdogs' server for development and tests, not TensorFlow Serving.",
        soft_wrap=True,
    )
    if not server.is_loopback(options.host):
        console.print(
            f"Listening on {options.host}: everyone who can reach this machine can send requests, and "
            "nothing is encrypted.",
            style="yellow",
            soft_wrap=True,
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with console.status("Starting TensorFlow …"), silence_stderr():
        from serving.local.models_config import config_source
        from serving.local.served_models import ServedModels
    source = config_source(model_name, folder, config_file)
    for served_model in source():
        _warn_if_writable(served_model.folder)
    if config_file:
        _warn_if_writable(config_file)
    _log_to(console)
    server.serve(
        ServedModels(source),
        options,
        on_ready=lambda ports: _print_addresses(console, options.host, ports),
        on_loading=lambda seconds: _print_loading(console, seconds),
    )
    console.print("Stopped; all running requests were finished.")


def _check_model_dir(folder: Path) -> None:
    if not folder.exists():
        raise UsageError(
            f"The model folder {folder} does not exist: push a model with catsdogs run, "
            "or name another folder with --model-dir."
        )
    if not folder.is_dir():
        raise UsageError(f"The model folder {folder} is a file: name the folder that contains the versions.")
    if (folder / "saved_model.pb").exists():
        raise UsageError(
            f"The folder {folder} is one version of a model: name its parent folder, {folder.parent}."
        )


def _warn_if_writable(models: Path) -> None:
    """Prints a warning if every user of this machine can change the models, which are code that runs here."""
    for path in [models, *models.rglob("*")]:
        with contextlib.suppress(OSError):  # a version that was just removed, or a broken link
            if path.stat().st_mode & stat.S_IWOTH:
                echo(
                    f"Warning: {path} can be changed by every user of this machine, and what is in it "
                    f"decides which code the server runs: chmod -R o-w {shlex.quote(str(models))}",
                    err=True,
                )
                return


def _log_to(console: Console) -> None:
    """Prints the server's log messages, such as loaded and unloaded versions."""
    import logging

    from rich.logging import RichHandler

    handler = RichHandler(console=console, show_path=False, show_level=False, log_time_format="%X")
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(message)s")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _print_loading(console: Console, seconds: float) -> None:
    if seconds >= _LOADING_MESSAGE_AFTER:
        console.print(f"Still loading, {seconds:.0f} s so far …")


def _print_addresses(console: Console, host: str, ports: Ports) -> None:
    shown = f"[{host}]" if ":" in host else host
    console.print(f"REST and web page: http://{shown}:{ports.rest}/", soft_wrap=True)
    console.print(f"gRPC:              {shown}:{ports.grpc}", soft_wrap=True)
