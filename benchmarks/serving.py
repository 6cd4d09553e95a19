"""What the local server makes of a model: pictures a second and latency, by protocol and number of clients.

    make bench-serving
    python -m benchmarks.serving [--model-dir DIR] [--images DIR] [--clients 1 4 16 64] [--rounds 3]

Each request holds one picture. What the server answers is compared with the same SavedModel called in this
process with batches of 16, JPEG decoding included; the clients, in one process, share the cores with the
server. All are measured in turn in every round, the model alone before and after each, so that a busy machine
slows everybody; only the ratios carry over to other machines. The table is printed; figures and chart are
written to a folder (default output/benchmarks). It takes about five minutes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import serving_clients
from serving.local.background import running
from serving.repository import versions

BATCH = 16
PICTURES = 256
PROTOCOLS = ("gRPC", "REST")
PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data" / "cats_and_dogs" / "validation"


@dataclass(frozen=True)
class Measured:
    """One protocol with so many clients, in one round.

    Attributes:
        protocol: "REST" or "gRPC".
        clients: How many ask at the same time, each again as soon as it is answered.
        rate: Pictures a second.
        alone: What the model in this process made of them right before and after, pictures a second.
        latencies: Of each request, in seconds.
    """

    protocol: str
    clients: int
    rate: float
    alone: float
    latencies: list[float]


def main() -> None:
    """Measures, prints a table, and writes figures and chart."""
    options = _options()
    model = versions.newest_version(options.model_dir)
    if model is None:
        sys.exit(
            f"There is no model in {options.model_dir}: make run pushes one, "
            "and --model-dir names another folder."
        )
    pictures = _pictures(options.images)
    call = _model(model)
    with (
        running(options.model_dir) as address,
        ProcessPoolExecutor(
            1,
            multiprocessing.get_context("spawn"),
            serving_clients.prepare,
            (pictures, address.rest_url, address.grpc_address),
        ) as client,
    ):
        measured = []
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds} …", flush=True)
            measured += _round(options, lambda seconds: _alone(call, pictures, seconds), client)
    _print(measured, model, pictures)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "serving.json").write_text(json.dumps([asdict(one) for one in measured]))
    _chart(measured, options.output / "serving.svg")
    print(f"Chart: {options.output / 'serving.svg'}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model-dir", type=Path, default=Path("output/serving_model/catsdogs"), help="folder of versions"
    )
    parser.add_argument(
        "--images", type=Path, default=PHOTOGRAPHS, help="folder of JPEG files; where it is not, drawn ones"
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=5, help="for each measurement (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default 3)")
    parser.add_argument("--output", type=Path, default=Path("output/benchmarks"), help="folder to write to")
    return parser.parse_args()


def _pictures(folder: Path) -> list[bytes]:
    files = sorted(folder.rglob("*.jpg"))
    if files:
        step = max(1, len(files) // PICTURES)
        return [file.read_bytes() for file in files[::step][:PICTURES]]
    from components.image_example_gen.drawing import jpeg

    return [jpeg(index, 0, index % 2) for index in range(PICTURES)]


def _model(path: Path) -> Callable[[Sequence[bytes]], None]:
    """Returns a function that has the SavedModel judge a batch."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    (name,) = loaded.signatures["serving_default"].structured_input_signature[1]

    def call(batch: Sequence[bytes]) -> None:
        for output in loaded.signatures["serving_default"](**{name: tf.constant(batch)}).values():
            output.numpy()

    return call


def _alone(call: Callable[[Sequence[bytes]], None], pictures: Sequence[bytes], seconds: float) -> float:
    """Returns how many pictures a second the model judges in this process."""
    endless = itertools.cycle(pictures)
    call(list(itertools.islice(endless, BATCH)))  # the first call after a while is slower
    count, started = 0, time.perf_counter()
    while (now := time.perf_counter()) < started + seconds:
        call(list(itertools.islice(endless, BATCH)))
        count += BATCH
    return count / (now - started)


def _round(
    options: argparse.Namespace, alone: Callable[[float], float], client: ProcessPoolExecutor
) -> list[Measured]:
    result = []
    before = alone(options.seconds)
    for protocol, clients in itertools.product(PROTOCOLS, options.clients):
        latencies = client.submit(serving_clients.load, protocol, clients, options.seconds).result()
        after = alone(options.seconds)
        rate = len(latencies) / options.seconds
        result.append(Measured(protocol, clients, rate, (before + after) / 2, latencies))
        before = after
    return result


def _grouped(measured: Sequence[Measured]) -> dict[tuple[str, int], list[Measured]]:
    groups: dict[tuple[str, int], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.protocol, one.clients), []).append(one)
    return groups


def _print(measured: Sequence[Measured], model: Path, pictures: Sequence[bytes]) -> None:
    alone = [one.alone for one in measured]
    size = statistics.mean(map(len, pictures)) / 1000
    print(f"{model}, {len(pictures)} pictures of {size:.0f} kB on average, {os.cpu_count()} cores")
    print(
        f"alone, batches of {BATCH}: {statistics.median(alone):.1f} pictures/s "
        f"(by round {min(alone):.1f} to {max(alone):.1f})"
    )
    print(
        f"{'':6}{'clients':>8}{'pictures/s':>12}{'of alone':>10}{'by round':>14}"
        f"{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"
    )
    for (protocol, clients), rounds in _grouped(measured).items():
        ratios = [one.rate / one.alone for one in rounds]
        rate = statistics.median(one.rate for one in rounds)
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        times = "".join(f"{1000 * time:9.0f}" for time in _percentiles(rounds))
        print(f"{protocol:6}{clients:8}{rate:12.1f}{statistics.median(ratios):10.2f}{spread:>14}{times}")


def _percentiles(rounds: Sequence[Measured]) -> list[float]:
    """Returns p50, p95 and p99 over all rounds, in seconds."""
    latencies = sorted(latency for one in rounds for latency in one.latencies) or [math.nan]
    return [latencies[math.ceil(share * len(latencies)) - 1] for share in (0.50, 0.95, 0.99)]


def _chart(measured: Sequence[Measured], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    groups = _grouped(measured)
    for protocol, colour in zip(PROTOCOLS, ("tab:blue", "tab:orange"), strict=True):
        clients = [number for name, number in groups if name == protocol]
        ratios = [[one.rate / one.alone for one in groups[protocol, number]] for number in clients]
        middle = [statistics.median(each) for each in ratios]
        left.plot(clients, middle, "o-", color=colour, label=protocol)
        left.fill_between(clients, [*map(min, ratios)], [*map(max, ratios)], color=colour, alpha=0.2, lw=0)
        times = [_percentiles(groups[protocol, number]) for number in clients]
        for share, style, place in (("p50", "o-", 0), ("p95", "o--", 1), ("p99", "o:", 2)):
            right.plot(
                clients,
                [1000 * each[place] for each in times],
                style,
                color=colour,
                label=f"{protocol} {share}",
            )
    left.axhline(1, color="grey", lw=0.8)
    left.set(
        title=f"Pictures a second, against the model alone\n(in process, batches of {BATCH})", ylim=(0, None)
    )
    right.set(title="Latency of a picture, ms", yscale="log")
    for axes in (left, right):
        axes.set(xlabel="clients", xscale="log", xticks=sorted({one.clients for one in measured}))
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path)


if __name__ == "__main__":
    main()
