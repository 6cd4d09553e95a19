"""Measures how time per image and peak memory of each component grow with ten times as many images.

    make bench-growth
    python -m benchmarks.growth [--small 3000] [--large 30000] [--set KEY=VALUE ...] [--write]

Runs `catsdogs run` on few and on many drawn images, each time in an empty output root. Fixed costs of a step
(starting Beam, tracing, loading a model) weigh more per image in the small run, so the time per image usually
falls; the table marks growth of more than 20 % (time) or 50 % (memory). To keep the benchmark short, images
are small and the numbers of epochs small and fixed. The memory for cached features is so small that the
features of the small run fit into it, and those of the large run are read from disk.

Each measurement is saved: the same command resumes after it was killed, and repeats measurements whose inputs
have changed. A run during which the code changes is not saved.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import docs_page, machine, pipeline_run
from benchmarks.measurements import Measurement, MeasurementsFile
from benchmarks.process_monitor import Peak, interrupt_on_sigterm

PAGE = Path("docs/benchmarks.md")
SECONDS_GROWTH, MEMORY_GROWTH = 0.2, 0.5  # larger growth is marked
SETTINGS = (
    "data.source=sample",
    "training.image_size=96",
    "training.frozen.epochs=2",
    "training.fine_tuning.epochs=1",
    "training.feature_cache.memory_mb=64",
)


def main() -> None:
    """Makes the missing measurements and prints the table."""
    options = _parse_options()
    interrupt_on_sigterm()
    this_machine = machine.describe()
    file = options.output / "growth.json"
    measurements = MeasurementsFile(file, this_machine, options.anew)
    overrides = merge_settings(options.overrides)

    def current_inputs() -> str:
        packages = machine.requirements_fingerprint()
        code = pipeline_run.code_fingerprint()
        return "; ".join([machine.format_machine(this_machine), packages, code, *overrides])

    inputs = current_inputs()

    def measure(count: int) -> Measurement:
        settings = [*overrides, f"data.sample.count={count}"]
        arguments = [argument for setting in settings for argument in ("--set", setting)]
        name, log = f"{count:,} images", options.output / f"growth-{count}.log"
        run = functools.partial(pipeline_run.measure, name, 0, inputs, count, arguments, log)
        return measurements.get_or_measure(name, 0, inputs, run, current_inputs)

    small, large = measure(options.small), measure(options.large)
    table = "\n".join(table_lines(small, large, this_machine, overrides))
    print(f"{table}\nMeasurements: {file}")
    if options.write:
        docs_page.replace_section(PAGE, "benchmarks.growth", table)


def merge_settings(overrides: Sequence[str]) -> list[str]:
    """Returns the settings of both runs: the defaults of this benchmark, replaced by `overrides`."""
    settings = dict(setting.partition("=")[::2] for setting in (*SETTINGS, *overrides))
    return [f"{key}={value}" for key, value in settings.items()]


def relative_growth(small: float, large: float) -> float | None:
    """Returns the growth as a fraction of `small`; None if `small` is 0."""
    return large / small - 1 if small > 0 else None


def table_lines(
    small: Measurement, large: Measurement, this_machine: Mapping[str, str | int], overrides: Sequence[str]
) -> Iterator[str]:
    """Yields a Markdown table in which too large growth is marked, and a summary.

    Args:
        small: The small run.
        large: The large run.
        this_machine: The machine's description.
        overrides: The settings of both runs.
    """
    yield f"On {machine.format_machine(this_machine)}; {small.name} → {large.name}."
    yield f"Settings: {', '.join(f'`{setting}`' for setting in overrides)}."
    yield f"Feature cache on disk: {small.cache_mb:,.0f} → {large.cache_mb:,.0f} MB."
    yield ""
    yield (
        "| component | seconds | ms per image | growth | memory, MB | growth | before the step, MB "
        "| resident, MB |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    slower, larger = [], []
    for part, seconds in small.parts.items():
        time_growth, time_cells = _format_time(small, large, seconds, large.parts[part])
        memory_growth, memory_cells = None, "| | |"
        if part in small.peaks and part in large.peaks:
            memory_growth, memory_cells = _format_memory(small.peaks[part], large.peaks[part])
        slower += [part] if _exceeds(time_growth, SECONDS_GROWTH) else []
        larger += [part] if _exceeds(memory_growth, MEMORY_GROWTH) else []
        yield f"| {part} | {time_cells} | {memory_cells} |"
    peaks = (Peak(run.peak, min(peak.before for peak in run.peaks.values())) for run in (small, large))
    _, time_cells = _format_time(small, large, small.seconds, large.seconds)
    yield f"| **all** | {time_cells} | {_format_memory(*peaks)[1]} |"
    yield ""
    yield _summarize("Time per image", SECONDS_GROWTH, slower)
    yield _summarize("Peak memory", MEMORY_GROWTH, larger)
    yield (
        "Peak memory is that of the whole process during the step, including what earlier steps left "
        "allocated: see *before the step*."
    )


def _format_time(
    small: Measurement, large: Measurement, small_seconds: float, large_seconds: float
) -> tuple[float | None, str]:
    """Returns the growth of the time per image, and the table cells for it."""
    small_ms, large_ms = 1000 * small_seconds / small.train_images, 1000 * large_seconds / large.train_images
    growth = relative_growth(small_ms, large_ms)
    seconds = f"{small_seconds:,.1f} → {large_seconds:,.1f}"
    cells = f"{seconds} | {small_ms:.2f} → {large_ms:.2f} | {_format_growth(growth, SECONDS_GROWTH)}"
    return growth, cells


def _format_memory(small: Peak, large: Peak) -> tuple[float | None, str]:
    """Returns the growth of the peak memory, and the table cells for it."""
    growth = relative_growth(small.memory.own, large.memory.own)
    own, before, resident = (
        f"{small_mb:,.0f} → {large_mb:,.0f}"
        for small_mb, large_mb in (
            (small.memory.own, large.memory.own),
            (small.before, large.before),
            (small.memory.resident, large.memory.resident),
        )
    )
    return growth, f"{own} | {_format_growth(growth, MEMORY_GROWTH)} | {before} | {resident}"


def _exceeds(growth: float | None, limit: float) -> bool:
    return growth is not None and growth > limit


def _format_growth(growth: float | None, limit: float) -> str:
    if growth is None:
        return ""
    text = f"{100 * growth:+.0f} %"
    return f"**{text}**" if _exceeds(growth, limit) else text


def _summarize(name: str, limit: float, components: Sequence[str]) -> str:
    return f"{name} grows by more than {100 * limit:.0f} % in {', '.join(components) or 'no component'}."


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=int, default=3000, help="images of the first run (3000)")
    parser.add_argument("--large", type=int, default=30_000, help="images of the second run (30000)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of both runs")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("output/benchmarks"), help="folder to write to")
    parser.add_argument("--anew", action="store_true", help="discard earlier measurements")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
