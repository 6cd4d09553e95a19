"""What `catsdogs compile` tells on the terminal."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from pipelines.kubeflow.settings import LOOKS, STEPS
from pipelines.local.display import say
from pipelines.settings import Settings


@contextlib.contextmanager
def progress() -> Iterator[None]:
    """Shows that something goes on, where somebody looks: importing TFX alone takes seconds.

    Meanwhile nothing else gets to the terminal: TensorFlow tells of processors that nobody asked for.
    """
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with os.fdopen(os.dup(2), "w") as terminal, Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        console = Console(file=terminal)
        try:
            with console.status("compiling…") if console.is_terminal else contextlib.nullcontext():
                yield
        finally:
            os.dup2(terminal.fileno(), 2)


def print_summary(settings: Settings, output: Path) -> None:
    """Prints what was written and what to type next."""
    kubeflow = settings.kubeflow
    nodes = ", ".join(f"{key}={value}" for key, value in kubeflow.gpu.node_selector.items())
    rows = {
        "pipeline": f"{settings.pipeline_name}, {len(STEPS)} steps and {len(LOOKS)} looks",
        "CPU image": kubeflow.images.cpu,
        "GPU image": f"{kubeflow.images.gpu} (Trainer)",
        "GPU": f"{kubeflow.gpu.count} × {kubeflow.gpu.type}" + (f" on nodes with {nodes}" if nodes else ""),
        "artifacts": kubeflow.pipeline_root,
        "state": str(settings.output_root),
    }
    console = Console()
    say(console, f"Wrote {output}")
    for name, value in rows.items():
        say(console, f"  {name:<10} {value}")
    say(console, f"Run it with: catsdogs submit {output} --endpoint URL")
