"""The command `catsdogs compile`; heavy imports are inside the functions so that `--help` is fast."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import Config, Overrides

if TYPE_CHECKING:
    from pipelines.settings.tree import Settings


def compile_pipeline(
    config: Config = "kubeflow",
    overrides: Overrides = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Output file, .yaml or .yml.")
    ] = Path("pipeline.yaml"),
) -> None:
    """Compile the pipeline for Kubeflow Pipelines into a file for catsdogs submit.

    Exit status: 0 written; 2 invalid settings for a run on Kubeflow.
    """
    from pipelines.kubeflow import checks
    from pipelines.settings.loading import load

    settings = load(config, overrides or [])
    checks.check_output(output)
    checks.check_settings(settings)
    with _progress():
        from pipelines.kubeflow import compile as compiling  # imports TFX, which takes seconds

        compiling.write(compiling.compile_pipeline(settings), output)
    _print_summary(settings, output)


@contextlib.contextmanager
def _progress() -> Iterator[None]:
    """Shows a spinner on a terminal and hides other output on stderr, such as TensorFlow's CPU messages."""
    from rich.console import Console

    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with os.fdopen(os.dup(2), "w") as terminal, Path(os.devnull).open("w") as null_device:
        os.dup2(null_device.fileno(), 2)
        console = Console(file=terminal)
        try:
            with console.status("compiling…") if console.is_terminal else contextlib.nullcontext():
                yield
        finally:
            os.dup2(terminal.fileno(), 2)


def _print_summary(settings: Settings, output: Path) -> None:
    """Prints what was written and what to type next."""
    from pipelines.console import PrintableConsole, print_line
    from pipelines.settings.kubeflow import TASKS

    kubeflow = settings.kubeflow
    nodes = ", ".join(f"{key}={value}" for key, value in kubeflow.gpu.node_selector.items())
    rows = {
        "pipeline": f"{settings.pipeline_name}, {len(TASKS)} tasks",
        "CPU image": kubeflow.images.cpu,
        "GPU image": f"{kubeflow.images.gpu} (Trainer)",
        "GPU": f"{kubeflow.gpu.count} × {kubeflow.gpu.type}" + (f" on nodes with {nodes}" if nodes else ""),
        "artifacts": kubeflow.pipeline_root,
        "state": str(settings.output_root),
    }
    console = PrintableConsole()
    print_line(console, f"Wrote {output}")
    for name, value in rows.items():
        print_line(console, f"  {name:<10} {value}")
    print_line(console, f"Run it with: catsdogs submit {output} --endpoint URL")
