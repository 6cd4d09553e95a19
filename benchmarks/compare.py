"""Compares `catsdogs run` with TensorFlow's transfer-learning tutorial, on the same images and machine.

    make bench IMAGES=DIR
    python -m benchmarks.compare DIR [--seeds 0 1 2] [--tutorial-seeds 0] [--set KEY=VALUE ...] [--write]

DIR holds train/<class>/* and validation/<class>/*. Both sides train on the former (the pipeline splits off
its `eval`) and are evaluated on the latter, which the pipeline uses as `test`. Each run is a process,
and the two sides alternate. A run of the pipeline starts with an empty output root and ends with the pushed
model. docs/benchmarks.md explains the table.

Each measurement is saved: the same command resumes after it was killed, and repeats measurements whose inputs
have changed (code, settings, images, pinned packages, machine). A measurement is not saved if its inputs
change while it runs. `--write` requires ten epochs of the tutorial and three seeds, as the page describes.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import compare_chart, compare_table, docs_page, machine, pipeline_run
from benchmarks.compare_table import PIPELINE, TUTORIAL, TUTORIAL_EPOCHS
from benchmarks.measurements import Measurement, MeasurementsFile
from benchmarks.process_monitor import ProcessFailed, interrupt_on_sigterm, run_monitored
from components import fingerprint

PAGE, CHART = Path("docs/benchmarks.md"), Path("docs/images/benchmark.svg")

_TUTORIAL_MODULE = "benchmarks.tutorial"
_FOLDERS = ("train", "validation")
_SEEDS_ON_PAGE = 3
_NOT_COUNTED = "measuring"  # the time in which the tutorial's script measures its accuracy


class BenchmarkRun(NamedTuple):
    """A process to measure; the fields are those of Measurement."""

    name: str
    seed: int
    inputs: str


def main() -> None:
    """Makes the missing measurements, prints the table and draws the chart."""
    options = _parse_options()
    interrupt_on_sigterm()
    train_images, test_images = (_list_files(options.images / folder) for folder in _FOLDERS)
    this_machine = machine.describe()
    file = options.output / "compare.json"
    measurements_file = MeasurementsFile(file, this_machine, options.anew)
    inputs = {name: _describe_inputs(options, this_machine, name) for name in (TUTORIAL, PIPELINE)}
    measurements = []
    for run in interleave(options.tutorial_seeds, options.seeds, inputs):
        for image in [*train_images, *test_images]:  # so that every run finds them in the page cache
            image.read_bytes()
        measure = functools.partial(_measure, run, options, len(train_images))
        current_inputs = functools.partial(_describe_inputs, options, this_machine, run.name)
        measurements.append(
            measurements_file.get_or_measure(run.name, run.seed, run.inputs, measure, current_inputs)
        )
    lines = compare_table.table_lines(measurements, this_machine, options.overrides, options.tutorial_epochs)
    table = "\n".join(lines)
    print(table)
    compare_chart.draw(measurements, options.output / CHART.name)
    print(f"Measurements: {file}\nChart: {options.output / CHART.name}")
    if options.write:
        chart = f"![Times of both, and accuracies]({CHART.relative_to(PAGE.parent)})"
        docs_page.replace_section(PAGE, "benchmarks.compare", f"{table}\n\n{chart}")
        compare_chart.draw(measurements, CHART)


def interleave(
    tutorial_seeds: Sequence[int], pipeline_seeds: Sequence[int], inputs: Mapping[str, str]
) -> list[BenchmarkRun]:
    """Returns the runs in an order that spreads both sides evenly over the time.

    Args:
        tutorial_seeds: Seeds of the tutorial's runs.
        pipeline_seeds: Seeds of the pipeline's runs.
        inputs: The `inputs` of all runs of a side, by its name.
    """
    positions = [
        ((index + 0.5) / len(seeds), BenchmarkRun(name, seed, inputs[name]))
        for name, seeds in ((TUTORIAL, tutorial_seeds), (PIPELINE, pipeline_seeds))
        for index, seed in enumerate(seeds)
    ]
    return [run for _, run in sorted(positions, key=lambda position: position[0])]


def _measure(run: BenchmarkRun, options: argparse.Namespace, train_images: int) -> Measurement:
    log = options.output / f"{'tutorial' if run.name == TUTORIAL else 'catsdogs'}-{run.seed}.log"
    if run.name == TUTORIAL:
        return _measure_tutorial(run, options, log)
    overrides = [argument for override in options.overrides for argument in ("--set", override)]
    arguments = ["--images", str(options.images), *overrides]
    return pipeline_run.measure(run.name, run.seed, run.inputs, train_images, arguments, log)


def _measure_tutorial(run: BenchmarkRun, options: argparse.Namespace, log: Path) -> Measurement:
    load = machine.load()
    command = [sys.executable, "-m", _TUTORIAL_MODULE, str(options.images), "--seed", str(run.seed)]
    process = run_monitored([*command, "--epochs", str(options.tutorial_epochs)], log, lambda: TUTORIAL)
    output = log.read_text(encoding="utf-8", errors="replace")
    result = None if process.status else parse_last_json_line(output)
    if result is None:
        raise ProcessFailed(pipeline_run.failure_message("The tutorial's script", process, log))
    parts = {part: seconds for part, seconds in result["seconds"].items() if part != _NOT_COUNTED}
    return Measurement(
        name=run.name,
        seed=run.seed,
        inputs=run.inputs,
        load=load,
        seconds=sum(parts.values()),
        parts=parts,
        peaks=process.peaks,
        train_images=result["train_images"],
        test_images=result["test_images"],
        correct=result["correct"],
    )


def parse_last_json_line(output: str) -> dict[str, Any] | None:
    """Parses the last line that starts with a brace; warnings may follow it. Returns None without one."""
    json_lines = [line for line in output.splitlines() if line.startswith("{")]
    return json.loads(json_lines[-1]) if json_lines else None


def _describe_inputs(options: argparse.Namespace, this_machine: dict[str, str | int], name: str) -> str:
    """Returns a text that changes with everything that the measurements of a side depend on."""
    images = [path for folder in _FOLDERS for path in _list_files(options.images / folder)]
    sizes = "".join(f"{path}{path.stat().st_size}" for path in images)
    common = [
        hashlib.sha256(sizes.encode()).hexdigest()[:12],
        machine.format_machine(this_machine),
        machine.requirements_fingerprint(),
    ]
    if name == PIPELINE:
        return "; ".join([*common, pipeline_run.code_fingerprint(), *options.overrides])
    script = fingerprint.of_code(_TUTORIAL_MODULE, "trainer.weights", "benchmarks.process_monitor")[:12]
    return "; ".join([*common, script, f"{options.tutorial_epochs} epochs"])


def _list_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        sys.exit(
            f"There are no images in {folder}: IMAGES must hold train/<class>/* and validation/<class>/*."
        )
    return files


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of photographs, in train and validation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2],
                        help="seeds of the pipeline's runs (0 1 2)")  # fmt: skip
    parser.add_argument("--tutorial-seeds", type=int, nargs="+", default=[0],
                        help="seeds of the tutorial's runs (0)")  # fmt: skip
    parser.add_argument("--tutorial-epochs", type=int, default=TUTORIAL_EPOCHS,
                        help=f"epochs of each of the tutorial's phases ({TUTORIAL_EPOCHS})")  # fmt: skip
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of catsdogs run")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("output/benchmarks"), help="folder to write to")
    parser.add_argument("--anew", action="store_true", help="discard earlier measurements")
    parser.add_argument("--write", action="store_true", help=f"write table and chart into {PAGE}")
    options = parser.parse_args()
    fits_page = options.tutorial_epochs == TUTORIAL_EPOCHS and (
        len(options.seeds) == len(set(options.seeds)) == _SEEDS_ON_PAGE
    )
    if options.write and not fits_page:
        sys.exit(
            f"--write requires --tutorial-epochs {TUTORIAL_EPOCHS} and {_SEEDS_ON_PAGE} different --seeds, "
            f"as described in {PAGE}, not {options.tutorial_epochs} and "
            f"{' '.join(map(str, options.seeds))}: omit --write to see the table only."
        )
    return options


if __name__ == "__main__":
    main()
