"""TensorFlow's tutorial recipe against `catsdogs run`, on the same pictures and the same machine, in turn.

    make bench IMAGES=DIR
    python -m benchmarks.compare DIR [--seeds 0 1 2] [--tutorial-seeds 0] [--set KEY=VALUE ...] [--write]

DIR holds train/<class>/* and validation/<class>/*. Both sides train on the first (ours carves its `eval` from
it) and are judged on the second, which ours takes for `test`. Each run is a process of its own from its
imports on, ours with nothing to reuse and to the pushed model; ours and the tutorial's alternate. See
docs/benchmarks.md for what the table says.

What is measured is kept after each process: the same command goes on where it was killed, and measures anew
what has changed since (code, settings, pictures, pinned packages, machine). A measurement during which any of
them changed is not kept. `--write` needs the tutorial's ten epochs and three seeds, which the page speaks of.
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

from benchmarks import compare_chart, compare_table, machine, page, pipeline_run
from benchmarks.compare_table import PIPELINE, TUTORIAL, TUTORIAL_EPOCHS
from benchmarks.results import Kept, Measured
from benchmarks.watched import RunFailed, stop_when_asked, watch
from components import fingerprint

PAGE, CHART = Path("docs/benchmarks.md"), Path("docs/images/benchmark.svg")

_TUTORIAL_MODULE = "benchmarks.tutorial"
_PARTS = ("train", "validation")
_SEEDS_WRITTEN = 3
_NOT_COUNTED = "measuring"  # the tutorial script's accuracy


class Job(NamedTuple):
    """One process to measure; the names are Measured's."""

    what: str
    seed: int
    asked: str


def main() -> None:
    """Measures what was not measured yet, prints the table, and writes figures and chart."""
    options = _options()
    stop_when_asked()
    trained, tested = (_files(options.images / part) for part in _PARTS)
    here = machine.describe()
    file = options.output / "compare.json"
    kept = Kept(file, here, options.anew)
    asked = {what: _asked(options, here, what) for what in (TUTORIAL, PIPELINE)}
    found = []
    for job in plan(options.tutorial_seeds, options.seeds, asked):
        for picture in [*trained, *tested]:  # so that nobody finds them cold
            picture.read_bytes()
        measure = functools.partial(_measure, job, options, len(trained))
        asked_now = functools.partial(_asked, options, here, job.what)
        found.append(kept.once(job.what, job.seed, job.asked, measure, asked_now))
    lines = "\n".join(compare_table.lines(found, here, options.overrides, options.tutorial_epochs))
    print(lines)
    compare_chart.draw(found, options.output / CHART.name)
    print(f"Figures: {file}\nChart: {options.output / CHART.name}")
    if options.write:
        chart = f"![Times of both, and accuracies]({CHART.relative_to(PAGE.parent)})"
        page.put(PAGE, "benchmarks.compare", f"{lines}\n\n{chart}")
        compare_chart.draw(found, CHART)


def plan(tutorial_seeds: Sequence[int], seeds: Sequence[int], asked: Mapping[str, str]) -> list[Job]:
    """Returns the processes in an order that spreads both sides evenly over the time.

    Args:
        tutorial_seeds: Seeds of the tutorial's runs.
        seeds: Seeds of our runs.
        asked: What all runs of a side are asked, by side.
    """
    placed = [
        ((place + 0.5) / len(each), Job(what, seed, asked[what]))
        for what, each in ((TUTORIAL, tutorial_seeds), (PIPELINE, seeds))
        for place, seed in enumerate(each)
    ]
    return [job for _, job in sorted(placed, key=lambda one: one[0])]


def _measure(job: Job, options: argparse.Namespace, trained: int) -> Measured:
    log = options.output / f"{'tutorial' if job.what == TUTORIAL else 'catsdogs'}-{job.seed}.log"
    if job.what == TUTORIAL:
        return _tutorial(job, options, log)
    overrides = [word for override in options.overrides for word in ("--set", override)]
    arguments = ["--images", str(options.images), *overrides]
    return pipeline_run.run(job.what, job.seed, job.asked, trained, arguments, log)


def _tutorial(job: Job, options: argparse.Namespace, log: Path) -> Measured:
    load = machine.load()
    command = [sys.executable, "-m", _TUTORIAL_MODULE, str(options.images), "--seed", str(job.seed)]
    watched = watch([*command, "--epochs", str(options.tutorial_epochs)], log, lambda: TUTORIAL)
    told = None if watched.status else last_json(log.read_text(encoding="utf-8", errors="replace"))
    if told is None:
        raise RunFailed(pipeline_run.why("The tutorial's script", watched, log))
    parts = {part: seconds for part, seconds in told["seconds"].items() if part != _NOT_COUNTED}
    return Measured(
        what=job.what,
        seed=job.seed,
        asked=job.asked,
        load=load,
        seconds=sum(parts.values()),
        parts=parts,
        peaks=watched.peaks,
        trained=told["trained"],
        pictures=told["pictures"],
        correct=told["correct"],
    )


def last_json(said: str) -> dict[str, Any] | None:
    """Returns what a process told in its last line that begins with a brace, which warnings may follow."""
    told = [line for line in said.splitlines() if line.startswith("{")]
    return json.loads(told[-1]) if told else None


def _asked(options: argparse.Namespace, here: dict[str, str | int], what: str) -> str:
    """Returns a text that changes with whatever the measurements of a side depend on."""
    pictures = [path for part in _PARTS for path in _files(options.images / part)]
    contents = "".join(f"{path}{path.stat().st_size}" for path in pictures)
    both = [hashlib.sha256(contents.encode()).hexdigest()[:12], machine.sentence(here), machine.pinned()]
    if what == PIPELINE:
        return "; ".join([*both, pipeline_run.code(), *options.overrides])
    script = fingerprint.of_code(_TUTORIAL_MODULE, "trainer.weights", "benchmarks.watched")[:12]
    return "; ".join([*both, script, f"{options.tutorial_epochs} epochs"])


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        sys.exit(
            f"There are no pictures in {folder}: IMAGES must hold train/<class>/* and validation/<class>/*."
        )
    return files


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of photographs, in train and validation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of our runs (0 1 2)")
    parser.add_argument("--tutorial-seeds", type=int, nargs="+", default=[0], help="of the tutorial's (0)")
    parser.add_argument("--tutorial-epochs", type=int, default=TUTORIAL_EPOCHS,
                        help=f"of each of its phases ({TUTORIAL_EPOCHS})")  # fmt: skip
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of catsdogs run")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("output/benchmarks"), help="folder to write to")
    parser.add_argument("--anew", action="store_true", help="forget what was measured before")
    parser.add_argument("--write", action="store_true", help=f"put table and chart into {PAGE}")
    options = parser.parse_args()
    as_written = options.tutorial_epochs == TUTORIAL_EPOCHS and (
        len(options.seeds) == len(set(options.seeds)) == _SEEDS_WRITTEN
    )
    if options.write and not as_written:
        sys.exit(
            f"--write needs --tutorial-epochs {TUTORIAL_EPOCHS} and {_SEEDS_WRITTEN} different --seeds, of "
            f"which {PAGE} speaks, and not {options.tutorial_epochs} and "
            f"{' '.join(map(str, options.seeds))}: leave it out to see the table only."
        )
    return options


if __name__ == "__main__":
    main()
