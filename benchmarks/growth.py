"""What ten times as many pictures cost: time per picture and peak memory of each component.

    make bench-growth
    python -m benchmarks.growth [--small 3000] [--large 30000] [--set KEY=VALUE ...] [--write]

`catsdogs run` on drawn pictures, few and many of them, each run from nothing. Of few pictures each bears more
of what a step costs at any size (starting Beam, tracing, loading a model), so that the cost per picture
usually falls; what grows by more than 20 % (time) or 50 % (memory) is marked. So that it ends in good time,
the pictures are small, and the numbers of epochs small and fixed; the feature cache gets so little memory
that the features of the few fit into it and those of the many have to be read from disk.

What is measured is kept after each run: the same command goes on where it was killed, and measures anew what
has changed since.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import machine, page, pipeline_run, results
from benchmarks.results import Measured
from benchmarks.watched import stop_when_asked

PAGE = Path("docs/benchmarks.md")
SECONDS_GROWTH, MEMORY_GROWTH = 0.2, 0.5  # above which a component is marked
SETTINGS = (
    "training.image_size=96",
    "training.frozen.epochs=2",
    "training.fine_tuning.epochs=1",
    "training.feature_cache.memory_mb=64",
)


def main() -> None:
    """Measures what was not measured yet, prints the table, and writes the figures."""
    options = _options()
    stop_when_asked()
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "growth.json"
    here = machine.describe()
    measured = [] if options.anew else results.load(file)
    overrides = ["data.source=sample", *SETTINGS, *options.overrides]
    asked = "; ".join([machine.sentence(here), pipeline_run.code(), *overrides])
    found = []
    for count in (options.small, options.large):
        what = f"{count:,} pictures"
        known = [one for one in measured if (one.what, one.asked) == (what, asked)]
        if known:
            print(f"{what}: measured before (--anew measures again)", flush=True)
        else:
            print(f"{what} …", flush=True)
            sets = [word for each in [*overrides, f"data.sample.count={count}"] for word in ("--set", each)]
            try:
                known = [
                    pipeline_run.run(what, 0, asked, count, sets, options.output / f"growth-{count}.log")
                ]
            except pipeline_run.RunFailed as error:
                sys.exit(str(error))
            measured += known
            results.save(file, measured, here)
            print(f"{what}: {known[0].seconds:.0f} s", flush=True)
        found.append(known[-1])
    lines = "\n".join(table(found[0], found[1], options.large / options.small, here, overrides))
    print(f"{lines}\nFigures: {file}")
    if options.write:
        page.put(PAGE, "benchmarks.growth", lines)


def growth(few: float, many: float, times: float = 1.0) -> float | None:
    """Returns by which share a cost per picture grows; None where it was nothing.

    Args:
        few: The cost of the small run.
        many: The cost of the large run.
        times: How many times as many pictures the large run has, where the cost is for all of them.
    """
    return many / times / few - 1 if few > 0 else None


def table(
    few: Measured, many: Measured, times: float, here: Mapping[str, str | int], overrides: Sequence[str]
) -> Iterator[str]:
    """Yields the lines of a Markdown table, marked where a component grows too much, and a verdict.

    Args:
        few: The small run.
        many: The large run.
        times: How many times as many pictures the large run has.
        here: The machine.
        overrides: The settings of both runs.
    """
    yield f"On {machine.sentence(dict(here))}. Settings: {', '.join(f'`{one}`' for one in overrides)}."
    yield f"The feature cache left {few.cache_mb:,.0f} and {many.cache_mb:,.0f} MB on disk."
    yield ""
    yield (
        f"| component | seconds, {few.what} | {many.what} | per picture | memory, MB, {few.what} "
        f"| {many.what} | growth | before the step, MB | resident, MB |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    too_slow, too_large = [], []
    for part, seconds in few.parts.items():
        slower = growth(seconds, many.parts[part], times)
        times_told = f"{seconds:.1f} | {many.parts[part]:.1f} | {_told(slower, SECONDS_GROWTH)}"
        larger, memory_told = None, "| | | |"
        if part in few.peaks and part in many.peaks:
            pair = few.peaks[part], many.peaks[part]
            larger = growth(pair[0].memory.own, pair[1].memory.own)
            before, resident = ([f"{size:,.0f}" for size in sizes] for sizes in (
                [one.before for one in pair], [one.memory.resident for one in pair]))  # fmt: skip
            memory_told = (
                f"{pair[0].memory.own:,.0f} | {pair[1].memory.own:,.0f} | {_told(larger, MEMORY_GROWTH)} "
                f"| {' → '.join(before)} | {' → '.join(resident)}"
            )
        too_slow += [part] if slower is not None and slower > SECONDS_GROWTH else []
        too_large += [part] if larger is not None and larger > MEMORY_GROWTH else []
        yield f"| {part} | {times_told} | {memory_told} |"
    yield (
        f"| **all** | {few.seconds:.1f} | {many.seconds:.1f} "
        f"| {_told(growth(few.seconds, many.seconds, times), SECONDS_GROWTH)} | {few.peak.own:,.0f} "
        f"| {many.peak.own:,.0f} | {_told(growth(few.peak.own, many.peak.own), MEMORY_GROWTH)} | "
        f"| {few.peak.resident:,.0f} → {many.peak.resident:,.0f} |"
    )
    yield ""
    yield _verdict("Time per picture", SECONDS_GROWTH, too_slow)
    yield _verdict("Peak memory", MEMORY_GROWTH, too_large)


def _told(share: float | None, most: float) -> str:
    if share is None:
        return ""
    text = f"{100 * share:+.0f} %"
    return f"**{text}**" if share > most else text


def _verdict(name: str, most: float, beyond: Sequence[str]) -> str:
    those = f"of {', '.join(beyond)}" if beyond else "of no component"
    return f"{name} grows by more than {100 * most:.0f} % {those}."


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=int, default=3000, help="pictures of the first run (3000)")
    parser.add_argument("--large", type=int, default=30_000, help="pictures of the second run (30000)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of both runs")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("output/benchmarks"), help="folder to write to")
    parser.add_argument("--anew", action="store_true", help="forget what was measured before")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
