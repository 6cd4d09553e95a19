"""`catsdogs compile`. What it needs is imported when it runs, so that `--help` answers at once."""

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
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write: .yaml or .yml.")
    ] = Path("pipeline.yaml"),
) -> None:
    """Compile the pipeline for Kubeflow Pipelines, into a file that catsdogs submit takes.

    Exit status: 0 written; 2 settings that do not fit a run on Kubeflow.
    """
    from pipelines.kubeflow import checks
    from pipelines.settings.loading import load

    settings = load(config, overrides or [])
    checks.check_output(output)
    checks.check(settings)
    with _progress():
        from pipelines.kubeflow import compile as compiling  # imports TFX, which takes its time

        compiling.write(compiling.compile_pipeline(settings), output)
    _print_summary(settings, output)


@contextlib.contextmanager
def _progress() -> Iterator[None]:
    """Shows that something goes on, where somebody looks: importing TFX alone takes seconds.

    Meanwhile nothing else gets to the terminal: TensorFlow tells of processors that nobody asked for.
    """
    from rich.console import Console

    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with os.fdopen(os.dup(2), "w") as terminal, Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        console = Console(file=terminal)
        try:
            with console.status("compiling…") if console.is_terminal else contextlib.nullcontext():
                yield
        finally:
            os.dup2(terminal.fileno(), 2)


def _print_summary(settings: Settings, output: Path) -> None:
    """Prints what was written and what to type next."""
    from rich.console import Console

    from pipelines.console import print_line
    from pipelines.settings.kubeflow import LOOKUP_TASKS, NODES

    kubeflow = settings.kubeflow
    nodes = ", ".join(f"{key}={value}" for key, value in kubeflow.gpu.node_selector.items())
    rows = {
        "pipeline": f"{settings.pipeline_name}, {len(NODES)} steps and {len(LOOKUP_TASKS)} looks",
        "CPU image": kubeflow.images.cpu,
        "GPU image": f"{kubeflow.images.gpu} (Trainer)",
        "GPU": f"{kubeflow.gpu.count} × {kubeflow.gpu.type}" + (f" on nodes with {nodes}" if nodes else ""),
        "artifacts": kubeflow.pipeline_root,
        "state": str(settings.output_root),
    }
    console = Console()
    print_line(console, f"Wrote {output}")
    for name, value in rows.items():
        print_line(console, f"  {name:<10} {value}")
    print_line(console, f"Run it with: catsdogs submit {output} --endpoint URL")
