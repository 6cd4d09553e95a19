"""Measures how the processor time per image and the peak memory of each Beam step grow with the images.

    make bench-growth [IMAGES=DIR]
    python -m benchmarks.growth [DIR] [--counts 3000 10000 30000 100000] [--flink HOST:PORT]
                                [--set KEY=VALUE ...] [--write]

Derives the images from those in DIR, or from drawn ones, and keeps them in the output folder. Runs the steps
up to the Evaluator in an empty output root (see `benchmarks.beam_steps`) and, beside them, the Trainer, for
its pass over the images. `--flink` repeats the Beam steps on a running Flink cluster, with one and two slots.

Each measurement is saved: the same command resumes after it was killed, and repeats measurements whose inputs
have changed. A run during which the code changes is not saved.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import docs_page, growth_chart, machine, pipeline_run
from benchmarks.derived_images import derive
from benchmarks.growth_table import FEATURE_PASS, table_lines
from benchmarks.measurements import Measurement, MeasurementsFile
from benchmarks.process_monitor import interrupt_on_sigterm
from components import fingerprint
from components.errors import InputError
from components.image_example_gen.sources import open_source
from pipelines.settings.loading import load

PAGE, CHART = Path("docs/benchmarks.md"), Path("docs/images/growth.svg")
SETTINGS = (
    "training.image_size=96",
    "training.frozen.epochs=1",
    "training.fine_tuning.epochs=1",
    "training.feature_cache.memory_mb=64",  # the features of many images do not fit and are read from disk
)

_COUNTS = (3000, 10_000, 30_000, 100_000)
_TRAINER_COUNTS, _FLINK_COUNTS, _FLINK_SLOTS = (3000, 30_000), (3000, 10_000), (1, 2)
_FLINK_PROCESSES = (b"org.apache.flink.runtime.", b"--flink-master", b"worker_pool_main")
_BEAM_STEPS = (sys.executable, "-m", "benchmarks.beam_steps")
_TRAINER = (*pipeline_run.CATSDOGS_RUN, "--to", "Trainer")


class Run(NamedTuple):
    """A run to measure.

    Attributes:
        name: As in Measurement.
        images: Number of images.
        command: The command without settings.
        settings: Settings of this run only.
    """

    name: str
    images: int
    command: Sequence[str] = _BEAM_STEPS
    settings: Sequence[str] = ()

    def all_settings(self, overrides: Sequence[str]) -> list[str]:
        """Returns the settings of all runs, of which those of the cluster do not apply here, and its own."""
        common = [text for text in overrides if self.settings or not text.startswith("beam.flink.")]
        return [*common, *self.settings]


def main() -> None:
    """Makes the missing measurements, prints the tables and draws the chart."""
    options = _parse_options()
    interrupt_on_sigterm()
    this_machine = machine.describe()
    file = options.output / "growth.json"
    measurements = MeasurementsFile(file, this_machine, options.anew)
    overrides = merge_settings(options.overrides)
    given = ["data.source=folder", f"data.folder={options.images}"] if options.images else []
    data = load(overrides=given).data
    try:
        source = open_source(data.source_spec, data.class_names)
    except InputError as error:
        sys.exit(str(error))
    code = fingerprint.of_code("benchmarks.derived_images", "components.image_example_gen.drawing")
    images_id = f"{source.fingerprint()[:8]}{code[:4]}"

    def current_inputs(run: Run) -> str:
        code = [pipeline_run.code_fingerprint(), fingerprint.of_code("benchmarks.beam_steps")[:4]]
        packages = machine.requirements_fingerprint()
        settings = run.all_settings(overrides)
        return "; ".join([machine.format_machine(this_machine), images_id, packages, *code, *settings])

    def measure(run: Run) -> Measurement:
        folder = options.output / f"images-{images_id}-{run.images}"
        derive(source, data.class_names, run.images, folder)
        inputs = current_inputs(run)
        settings = [*run.all_settings(overrides), "data.source=folder", f"data.folder={folder.resolve()}"]
        arguments = [argument for setting in settings for argument in ("--set", setting)]
        log = options.output / f"growth-{run.name.replace(',', '').replace(' ', '-')}.log"
        make = functools.partial(
            pipeline_run.measure, run.name, 0, inputs, run.images, arguments, log,
            command=run.command, current_part=current_part, other_pids=flink_pids() if run.settings else (),
        )  # fmt: skip
        return measurements.get_or_measure(run.name, 0, inputs, make, functools.partial(current_inputs, run))

    local, trainer, flink = (list(map(measure, runs)) for runs in plan_runs(options.counts, options.flink))
    table = "\n".join(table_lines(local, trainer, flink, this_machine, overrides))
    print(f"{table}\nMeasurements: {file}")
    growth_chart.draw(local, trainer, options.output / CHART.name)
    if options.write:
        growth_chart.draw(local, trainer, CHART)
        chart = f"![Processor time per image and peak memory by step]({CHART.relative_to(PAGE.parent)})"
        docs_page.replace_section(PAGE, "benchmarks.growth", f"{table}\n\n{chart}")


def merge_settings(overrides: Sequence[str]) -> list[str]:
    """Returns the settings of all runs: the defaults of this benchmark, replaced by `overrides`."""
    settings = dict(setting.partition("=")[::2] for setting in (*SETTINGS, *overrides))
    return [f"{key}={value}" for key, value in settings.items()]


def plan_runs(counts: Sequence[int], flink: str | None) -> tuple[list[Run], list[Run], list[Run]]:
    """Returns the runs of the Beam steps here, of the Trainer, and of the Beam steps on Flink.

    Args:
        counts: Numbers of images.
        flink: Host and port of the cluster's JobManager; None measures nothing on Flink.
    """
    local = [Run(f"{count:,} images", count) for count in sorted(counts)]
    trainer = [
        Run(f"{count:,} images, Trainer", count, _TRAINER) for count in _TRAINER_COUNTS if count in counts
    ]
    on_flink = [
        Run(
            f"{count:,} images, Flink, parallelism {slots}",
            count,
            settings=["beam.runner=flink", f"beam.flink.master={flink}", f"beam.flink.parallelism={slots}"],
        )
        for count in _FLINK_COUNTS
        for slots in _FLINK_SLOTS
        if flink and count in counts
    ]
    return local, trainer, on_flink


def current_part(output_root: Path) -> str:
    """Returns the name of the current step; the Trainer's pass over the images is a part of its own."""
    step = pipeline_run.current_step(output_root)
    if step != "Trainer":
        return step
    [record] = output_root.glob("runs/*/run.json")
    text = json.loads(record.read_text(encoding="utf-8"))["steps"][step]["text"]
    return FEATURE_PASS if text.startswith("features of") else step


def flink_pids() -> list[int]:
    """Returns the processes of Flink, of Beam's job servers and of its worker pools on this machine."""
    pids = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command_line = file.read_bytes()
        except OSError:  # the process has ended
            continue
        if any(word in command_line for word in _FLINK_PROCESSES):
            pids.append(int(file.parent.name))
    return pids


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, nargs="?", help="folder of images; default: the drawn ones")
    parser.add_argument("--counts", type=int, nargs="+", default=_COUNTS, help="numbers of images")
    parser.add_argument("--flink", metavar="HOST:PORT", help="JobManager of a running Flink cluster")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of all runs")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("output/benchmarks"), help="folder to write to")
    parser.add_argument("--anew", action="store_true", help="discard earlier measurements")
    parser.add_argument("--write", action="store_true", help=f"write tables and chart into {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
