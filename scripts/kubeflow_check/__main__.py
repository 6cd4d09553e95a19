"""`make kubeflow-check`: builds the images, compiles the pipeline for them, runs every step in its container.

tests/kubeflow_backend stands in for Kubeflow's driver and launcher; the images are drawn. Nothing is
installed. The container images stay in podman's store, and the files of the last check in the user's cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from components.errors import PipelineError
from pipelines.console import PrintableConsole
from pipelines.settings import loading as pipeline_settings
from scripts.kubeflow_check import images, result_checks
from scripts.kubeflow_check.containers import Podman, change_owner
from scripts.kubeflow_check.flink import check_flink
from tests.kubeflow_backend.backend import Backend, Run

_CONFIG = "kubeflow"
_LINES_OF_A_FAILURE = 15

_console = PrintableConsole(highlight=False, soft_wrap=True)


def main() -> int:
    """Runs the check from the command line; returns the exit status: 0 passed, 1 failed, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="make kubeflow-check", description=__doc__)
    parser.add_argument("--cpu-only", action="store_true", help="train in the cpu image; saves CUDA's 6 GB")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="number of images to draw")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        passed = check(["cpu"] if options.cpu_only else ["cpu", "gpu"], options.images, options.set)
    except PipelineError as error:
        _console.print(f"kubeflow-check: {error}")
        passed = False
    except KeyboardInterrupt:
        _console.print("Interrupted; repeat the command to start over: layers that are built are kept.")
        return 130
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    verdict = "[bold green]PASS[/]" if passed else "[bold red]FAIL[/]"
    _console.print(f"kubeflow-check: {verdict} after {minutes} min {seconds} s")
    return 0 if passed else 1


def check(targets: Sequence[str], image_count: int, overrides: Sequence[str]) -> bool:
    """Runs the check and returns True if every task succeeded.

    Args:
        targets: Images to build; without `gpu`, the Trainer runs in the cpu image.
        image_count: Number of images to draw.
        overrides: `KEY=VALUE` settings over configs/kubeflow.yaml.

    Raises:
        PipelineError: The check cannot run, or a result of the pipeline is wrong.
    """
    images.require_podman()
    images.require_flink()
    settings = pipeline_settings.load(_CONFIG, list(overrides))
    base = images.find_base(_step)
    names = images.build(base, targets)
    flags = images.flags(base)

    folder = _new_folder()
    claims = {result_checks.STATE_CLAIM: folder / "state", result_checks.IMAGES_CLAIM: folder / "images"}
    _step(f"Drawing {image_count} images")
    _draw(claims[result_checks.IMAGES_CLAIM], image_count, settings.data.class_names)
    claims[result_checks.STATE_CLAIM].mkdir()
    change_owner(claims[result_checks.STATE_CLAIM])
    _step("Compiling the pipeline for these images")
    pipeline = folder / "pipeline.yaml"
    _compile(names["cpu"], names.get("gpu", names["cpu"]), pipeline, overrides)

    _step("Running every step in its container: as user 1000, on a read-only root, without a network")
    if "gpu" not in names:
        _line("The Trainer runs in the cpu image (--cpu-only).")
    podman = Podman(flags, claims, frozenset({result_checks.IMAGES_CLAIM}), _line)
    cluster = Backend(folder / "cluster", podman)
    run = cluster.run(pipeline)
    _show(run)
    if not run.succeeded:
        return False

    _step("Reading the verdict and the report")
    _line(result_checks.read_verdict(cluster, run))
    _step("Predicting with the pushed model")
    repository, images_folder = settings.serving_destination, claims[result_checks.IMAGES_CLAIM]
    _line(result_checks.check_pushed_model(podman, names["cpu"], folder, repository, images_folder))
    _step("Running the Beam steps on Flink, with a worker in another container")

    def compile_for_flink(output: Path, changes: Sequence[str]) -> None:
        _compile(names["cpu"], names["cpu"], output, [*overrides, *changes])

    _line(check_flink(flags, names["cpu"], folder, claims, compile_for_flink, (cluster, run), _line))
    return True


def _new_folder() -> Path:
    """Returns an empty folder for this check and removes that of the previous check."""
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
    for name, task in run.tasks.items():
        colour = {"executed": "green", "cached": "cyan"}.get(task.state, "red")
        table.add_row(name, Text(task.state, colour), f"{task.seconds:.1f}")
    _console.print(table)
    for name, task in run.tasks.items():
        if task.error:
            _console.print(f"{name}: {task.error}", style="red")
            _console.print("\n".join(task.output.splitlines()[-_LINES_OF_A_FAILURE:]))
    _console.print(f"Logs: {run.folder}")


def _step(text: str) -> None:
    _console.print(f"==> {text}", style="bold")


def _line(text: str) -> None:
    _console.print(f"    {text}")


if __name__ == "__main__":
    sys.exit(main())
