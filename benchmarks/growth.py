"""What ten times as many pictures cost: time per picture and peak memory of each component.

    make bench-growth
    python -m benchmarks.growth [--small 3000] [--large 30000] [--set KEY=VALUE ...] [--write]

`catsdogs run` on drawn pictures, few and many of them, each run from nothing. Of few pictures each bears more
of what a step costs at any size (starting Beam, tracing, loading a model), so that the cost per picture
usually falls; what grows by more than 20 % (time) or 50 % (memory) is marked. So that it ends in good time,
the pictures are small, and the numbers of epochs small and fixed; the feature cache gets so little memory
that the features of the few fit into it and those of the many have to be read from disk.

What is measured is kept after each run: the same command goes on where it was killed, and measures anew what
has changed since. A run during which the code changed is not kept.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import machine, page, pipeline_run
from benchmarks.results import Kept, Measured
from benchmarks.watched import Peak, stop_when_asked

PAGE = Path("docs/benchmarks.md")
SECONDS_GROWTH, MEMORY_GROWTH = 0.2, 0.5  # above which a component is marked
SETTINGS = (
    "data.source=sample",
    "training.image_size=96",
    "training.frozen.epochs=2",
    "training.fine_tuning.epochs=1",
    "training.feature_cache.memory_mb=64",
)


def main() -> None:
    """Measures what was not measured yet, prints the table, and writes the figures."""
    options = _options()
    stop_when_asked()
    here = machine.describe()
    file = options.output / "growth.json"
    kept = Kept(file, here, options.anew)
    overrides = settings(options.overrides)

    def asked_now() -> str:
        return "; ".join([machine.sentence(here), machine.pinned(), pipeline_run.code(), *overrides])

    asked = asked_now()

    def measured(count: int) -> Measured:
        sets = [word for each in [*overrides, f"data.sample.count={count}"] for word in ("--set", each)]
        what, log = f"{count:,} pictures", options.output / f"growth-{count}.log"
        run = functools.partial(pipeline_run.run, what, 0, asked, count, sets, log)
        return kept.once(what, 0, asked, run, asked_now)

    few, many = measured(options.small), measured(options.large)
    lines = "\n".join(table(few, many, here, overrides))
    print(f"{lines}\nFigures: {file}")
    if options.write:
        page.put(PAGE, "benchmarks.growth", lines)


def settings(overrides: Sequence[str]) -> list[str]:
    """Returns the settings of both runs: the usual ones, unless others are given."""
    chosen = dict(override.partition("=")[::2] for override in (*SETTINGS, *overrides))
    return [f"{key}={value}" for key, value in chosen.items()]


def growth(few: float, many: float) -> float | None:
    """Returns by which share a figure grows; None where it was nothing."""
    return many / few - 1 if few > 0 else None


def table(
    few: Measured, many: Measured, here: Mapping[str, str | int], overrides: Sequence[str]
) -> Iterator[str]:
    """Yields the lines of a Markdown table, marked where a component grows too much, and a verdict.

    Args:
        few: The small run.
        many: The large run.
        here: The machine.
        overrides: The settings of both runs.
    """
    yield f"On {machine.sentence(dict(here))}; {few.what} → {many.what}."
    yield f"Settings: {', '.join(f'`{one}`' for one in overrides)}."
    yield f"The feature cache left {few.cache_mb:,.0f} → {many.cache_mb:,.0f} MB on disk."
    yield ""
    yield (
        "| component | seconds | ms per picture | growth | memory, MB | growth | before the step, MB "
        "| resident, MB |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    too_slow, too_large = [], []
    for part, seconds in few.parts.items():
        slower, time_told = _time(few, many, seconds, many.parts[part])
        larger, memory_told = None, "| | |"
        if part in few.peaks and part in many.peaks:
            larger, memory_told = _memory(few.peaks[part], many.peaks[part])
        too_slow += [part] if _exceeds(slower, SECONDS_GROWTH) else []
        too_large += [part] if _exceeds(larger, MEMORY_GROWTH) else []
        yield f"| {part} | {time_told} | {memory_told} |"
    peaks = (Peak(one.peak, min(peak.before for peak in one.peaks.values())) for one in (few, many))
    yield f"| **all** | {_time(few, many, few.seconds, many.seconds)[1]} | {_memory(*peaks)[1]} |"
    yield ""
    yield _verdict("Time per picture", SECONDS_GROWTH, too_slow)
    yield _verdict("Peak memory", MEMORY_GROWTH, too_large)
    yield (
        "It is that of the whole process at that step, what the steps before have left in it included: see "
        "*before the step*."
    )


def _time(few: Measured, many: Measured, small: float, large: float) -> tuple[float | None, str]:
    """Returns the growth of the time per picture, and the cells about it."""
    each = 1000 * small / few.trained, 1000 * large / many.trained
    share = growth(*each)
    told = f"{small:,.1f} → {large:,.1f} | {each[0]:.2f} → {each[1]:.2f} | {_told(share, SECONDS_GROWTH)}"
    return share, told


def _memory(few: Peak, many: Peak) -> tuple[float | None, str]:
    """Returns the growth of the peak memory, and the cells about it."""
    share = growth(few.memory.own, many.memory.own)
    own, before, resident = (
        f"{small:,.0f} → {large:,.0f}"
        for small, large in (
            (few.memory.own, many.memory.own),
            (few.before, many.before),
            (few.memory.resident, many.memory.resident),
        )
    )
    return share, f"{own} | {_told(share, MEMORY_GROWTH)} | {before} | {resident}"


def _exceeds(share: float | None, most: float) -> bool:
    return share is not None and share > most


def _told(share: float | None, most: float) -> str:
    if share is None:
        return ""
    text = f"{100 * share:+.0f} %"
    return f"**{text}**" if _exceeds(share, most) else text


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
