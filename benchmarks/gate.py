"""How often the gate refuses equal models, and how often it finds worse ones: the table in docs/gate.md.

    python -m benchmarks.gate [--images 100 1000] [--repetitions 1000] [--write]

Models are drawn by chance, and judged by the very function that judges real ones, with all its rules and the
default settings. Each rate has its own 95 % interval. The same seed draws the same models.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks import docs_page
from benchmarks.gate_models import Case, Past, refused
from components.model_metrics import Estimate, proportion
from components.quality_gate.limits import GateLimits

PAGE = Path("docs/gate.md")

_SEED = 5
_CHUNK = 50  # verdicts drawn from one random generator, whatever the number of processes

_PASTS: dict[Past, str] = {
    "the same": "one model, newest and best",
    "two": "two models",
    "only the newest": "two models, only the newest better",
    "only the best": "two models, only the best better",
    "ten": "ten models, judged in turn",
}
# Share of hard images, and how often a model is wrong about one.
_EQUAL = ((0.004, 0.5), (0.04, 0.5), (0.10, 0.3))
# Number of images: share of hard ones, how often the candidate is wrong about one, and the earlier models.
_WORSE = {1000: (0.08, 0.5, 0.25), 5000: (0.06, 0.5, 1 / 3)}


@dataclass(frozen=True)
class Row:
    """A line of the table: a case, at a number of images."""

    case: Case
    images: int

    @property
    def key(self) -> list[int]:
        """Numbers that make the line's random draws its own."""
        shares = (self.case.hard, self.case.wrong, self.case.wrong_before)
        return [self.images, list(_PASTS).index(self.case.past), *(round(1e6 * share) for share in shares)]


def equal_models(sizes: Sequence[int]) -> list[Row]:
    """Returns the cases of a candidate that is as good as the models before it."""
    return [
        Row(Case(hard, wrong, wrong, past), images)
        for past in ("the same", "two", "ten")
        for hard, wrong in (_EQUAL[1:] if past == "ten" else _EQUAL)  # ten models take ten times as long
        for images in sizes
    ]


def worse_models(sizes: Sequence[int]) -> list[Row]:
    """Returns the cases of a worse candidate, which alone is correct on 1 % of the images."""
    return [
        Row(Case(*_WORSE[images], past), images) for past in _PASTS for images in sizes if images in _WORSE
    ]


def refusals(row: Row, repetitions: int, chunk: int = 0) -> int:
    """Returns how many of so many verdicts refuse the candidate."""
    random = np.random.default_rng([_SEED, chunk, *row.key])
    return sum(refused(row.case, row.images, random, GateLimits()) for _ in range(repetitions))


def in_chunks(repetitions: int) -> int:
    """Rounds the requested number of verdicts to whole chunks, at least one."""
    return max(1, -(-repetitions // _CHUNK)) * _CHUNK


def measure(rows: Sequence[Row], repetitions: int, workers: int) -> list[Estimate]:
    """Returns the share of refusals of each row, and reports progress on stderr.

    Args:
        rows: Cases.
        repetitions: Verdicts a row; a multiple of the chunk.
        workers: Processes.
    """
    counts = [0] * len(rows)
    chunks = repetitions // _CHUNK
    started, done = time.monotonic(), 0
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {
            pool.submit(refusals, row, _CHUNK, chunk): index
            for index, row in enumerate(rows)
            for chunk in range(chunks)
        }
        for job in as_completed(jobs):
            counts[jobs[job]] += job.result()
            done += 1
            seconds = time.monotonic() - started
            print(f"\r{100 * done / len(jobs):5.1f} % after {seconds:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    return [proportion(count, repetitions) for count in counts]


def table(rows: Sequence[Row], rates: Sequence[Estimate], repetitions: int) -> Iterator[str]:
    """Yields the lines of two Markdown tables: equal models and worse ones, by the number of test images."""
    yield f"{repetitions:,} simulated verdicts per cell; 95 % confidence intervals in brackets."
    results = list(zip(rows, rates, strict=True))
    yield from _table("equal model refused", [(row, rate) for row, rate in results if not row.case.loss])
    yield from _table("worse model refused", [(row, rate) for row, rate in results if row.case.loss])


def _table(title: str, results: Sequence[tuple[Row, Estimate]]) -> Iterator[str]:
    cells: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for row, rate in results:
        loss = f", loss of {100 * row.case.loss:.2g} %" if row.case.loss else ""
        column = f"{row.images:,} images{loss}"
        columns += [] if column in columns else [column]
        alone = f"{100 * row.case.only_candidate_right:.2g} %"
        cells.setdefault(f"| {_PASTS[row.case.past]} | {alone} |", {})[column] = _format_rate(rate)
    yield ""
    yield f"| {title}; compared with | correct only with one | {' | '.join(columns)} |"
    yield f"|---|---:|{'---:|' * len(columns)}"
    for label, rates_by_column in cells.items():
        yield f"{label} {' | '.join(rates_by_column[column] for column in columns)} |"


def _format_rate(rate: Estimate) -> str:
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f}–{100 * rate.high:.1f})"


def main() -> None:
    """Prints the table, and writes it into the docs page with `--write`."""
    options = _options()
    rows = [*equal_models(options.images), *worse_models(options.images)]
    repetitions = in_chunks(options.repetitions)
    rates = measure(rows, repetitions, options.workers)
    lines = "\n".join(table(rows, rates, repetitions))
    print(lines)
    if options.write:
        docs_page.replace_section(PAGE, "benchmarks.gate", lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = [100, 300, 1000, 5000]
    parser.add_argument("--images", type=int, nargs="+", default=sizes, help="test images (default all)")
    parser.add_argument(
        "--repetitions",
        type=int,
        default=1000,
        help=f"verdicts a line, rounded up to a multiple of {_CHUNK} (default 1000)",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default all cores)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
