"""`make kubeflow-check`: builds the images, compiles the pipeline for them, runs every step in its container.

What Kubeflow's driver and launcher do comes from tests/kubeflow_backend, the pictures are drawn. It installs
nothing. It leaves the images in podman's store, and the files of the newest check in the user's cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from components.errors import PipelineError
from pipelines.settings import loading as pipeline_settings
from scripts.kubeflow_check import afterwards, images
from scripts.kubeflow_check.containers import Podman, give
from tests.kubeflow_backend.backend import Backend, Run

_CONFIG = "kubeflow"
_LINES_OF_A_FAILURE = 15

_console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Runs the check from the command line; returns the exit status: 0 passed, 1 failed, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="make kubeflow-check", description=__doc__)
    parser.add_argument("--cpu-only", action="store_true", help="train in the cpu image; saves CUDA's 6 GB")
    parser.add_argument("--pictures", type=int, default=1000, metavar="N", help="how many are drawn")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        passed = check(["cpu"] if options.cpu_only else ["cpu", "gpu"], options.pictures, options.set)
    except PipelineError as error:
        _console.print(f"kubeflow-check: {error}", markup=False)
        passed = False
    except KeyboardInterrupt:
        _console.print("Interrupted; repeat the command to start over: layers that are built are kept.")
        return 130
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    verdict = "[bold green]PASS[/]" if passed else "[bold red]FAIL[/]"
    _console.print(f"kubeflow-check: {verdict} after {minutes} min {seconds} s")
    return 0 if passed else 1


def check(targets: Sequence[str], pictures: int, overrides: Sequence[str]) -> bool:
    """Runs the check and returns whether every step succeeded.

    Args:
        targets: Images to build; without `gpu`, the Trainer runs in the cpu image.
        pictures: How many are drawn.
        overrides: Settings over configs/kubeflow.yaml.

    Raises:
        PipelineError: It could not be run, or what the pipeline made is no good.
    """
    images.require_podman()
    settings = pipeline_settings.load(_CONFIG, list(overrides))
    base = images.find_base(_step)
    names = images.build(base, targets)
    flags = images.flags(base)

    folder = _new_folder()
    claims = {afterwards.STATE: folder / "state", afterwards.PICTURES: folder / "pictures"}
    _step(f"Drawing {pictures} pictures")
    _draw(claims[afterwards.PICTURES], pictures, settings.data.class_names)
    claims[afterwards.STATE].mkdir()
    give(claims[afterwards.STATE])
    _step("Compiling the pipeline for these images")
    pipeline = folder / "pipeline.yaml"
    _compile(names["cpu"], names.get("gpu", names["cpu"]), pipeline, overrides)

    _step("Running every step in its container: as user 1000, on a read-only root, without a network")
    if "gpu" not in names:
        _line("The Trainer runs in the cpu image, as asked.")
    podman = Podman(flags, claims, frozenset({afterwards.PICTURES}), _line)
    cluster = Backend(folder / "cluster", podman)
    run = cluster.run(pipeline)
    _show(run)
    if not run.succeeded:
        return False

    _step("Reading the verdict and the report")
    _line(afterwards.read_verdict(cluster, run))
    _step("Asking the pushed model")
    served, drawn = settings.serving_destination, claims[afterwards.PICTURES]
    _line(afterwards.ask(podman, names["cpu"], folder, served, drawn))
    _step("Letting a container of the image be Beam's worker")
    _line(afterwards.serve_beam(flags, names["cpu"], folder, claims, pictures, _line))
    return True


def _new_folder() -> Path:
    """Returns an empty folder for this check; the one of the check before it goes."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "catsdogs" / "kubeflow-check"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def _draw(folder: Path, count: int, class_names: Sequence[str]) -> None:
    from components.image_example_gen.drawing import jpeg

    for name in class_names:
        (folder / name).mkdir(parents=True)
    for index in range(count):
        label = index % 2
        (folder / class_names[label] / f"{index:06d}.jpg").write_bytes(jpeg(index, 0, label))


def _compile(cpu: str, gpu: str, output: Path, overrides: Sequence[str]) -> None:
    pairs = [f"kubeflow.images.cpu={cpu}", f"kubeflow.images.gpu={gpu}", *overrides]
    catsdogs = Path(sys.executable).with_name("catsdogs")
    settings = [part for pair in pairs for part in ("--set", pair)]
    images.run([catsdogs, "compile", "--config", _CONFIG, "--output", output, *settings])


def _show(run: Run) -> None:
    table = Table("step", "state", "seconds", box=None, pad_edge=False)
    for name, found in run.tasks.items():
        colour = {"executed": "green", "cached": "cyan"}.get(found.state, "red")
        table.add_row(name, f"[{colour}]{found.state}[/]", f"{found.seconds:.1f}")
    _console.print(table)
    for name, found in run.tasks.items():
        if found.error:
            _console.print(f"{name}: {found.error}", style="red", markup=False)
            _console.print("\n".join(found.output.splitlines()[-_LINES_OF_A_FAILURE:]), markup=False)
    _console.print(f"Logs: {run.folder}", markup=False)


def _step(text: str) -> None:
    _console.print(f"==> {text}", style="bold", markup=False)


def _line(text: str) -> None:
    _console.print(f"    {text}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
