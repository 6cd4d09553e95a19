"""Measures the throughput and latency of the local server, by protocol and number of clients.

    make bench-serving
    python -m benchmarks.serving [--model-dir DIR] [--images DIR] [--clients 1 4 16 64] [--rounds 3]

Each request has one image. The baseline is the same SavedModel, called in this process with batches of 16,
JPEG decoding included. The clients run in one process and share the cores with the server. In every round,
the baseline is measured before and after each combination, so that other load on the machine slows both
down; only the ratios are comparable between machines. The command prints a table, and writes serving.json and
serving.svg to a folder (default output/benchmarks). It takes about five minutes.
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
from serving.local.server_process import run_local_server
from serving.repository import versions

BATCH = 16
NUM_IMAGES = 256
PROTOCOLS = ("gRPC", "REST")
IMAGES_DIR = Path(__file__).resolve().parents[2] / "shared" / "data" / "cats_and_dogs" / "validation"


@dataclass(frozen=True)
class ServingResult:
    """Result of one protocol and number of clients in one round.

    Attributes:
        protocol: "REST" or "gRPC".
        clients: Number of concurrent clients; each sends its next request after a response.
        rate: Images per second.
        baseline_rate: Images per second of the model in this process, right before and after.
        latencies: Latency of each request, in seconds.
    """

    protocol: str
    clients: int
    rate: float
    baseline_rate: float
    latencies: list[float]


def main() -> None:
    """Runs the benchmark, prints a table, and writes the results and a chart."""
    options = _parse_options()
    model = versions.newest_version(options.model_dir)
    if model is None:
        sys.exit(
            f"There is no model in {options.model_dir}: push one with make run, "
            "or choose another folder with --model-dir."
        )
    images = _load_images(options.images)
    predict = _load_model(model)
    with (
        run_local_server(options.model_dir) as server,
        ProcessPoolExecutor(
            1,
            multiprocessing.get_context("spawn"),
            serving_clients.prepare,
            (images, server.rest_url, server.grpc_address),
        ) as client,
    ):
        results = []
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds} …", flush=True)
            results += _run_round(
                options, lambda seconds: _measure_baseline(predict, images, seconds), client
            )
    _print_table(results, model, images)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "serving.json").write_text(json.dumps([asdict(result) for result in results]))
    _draw_chart(results, options.output / "serving.svg")
    print(f"Chart: {options.output / 'serving.svg'}")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model-dir", type=Path, default=Path("output/serving_model/catsdogs"), help="folder of versions"
    )
    parser.add_argument(
        "--images",
        type=Path,
        default=IMAGES_DIR,
        help="folder of JPEG files; images are generated if it does not exist",
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=5, help="duration of each measurement (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="number of measurements of each (default 3)")
    parser.add_argument("--output", type=Path, default=Path("output/benchmarks"), help="folder to write to")
    return parser.parse_args()


def _load_images(folder: Path) -> list[bytes]:
    files = sorted(folder.rglob("*.jpg"))
    if files:
        step = max(1, len(files) // NUM_IMAGES)
        return [file.read_bytes() for file in files[::step][:NUM_IMAGES]]
    from components.image_example_gen.drawing import jpeg

    return [jpeg(index, 0, index % 2) for index in range(NUM_IMAGES)]


def _load_model(path: Path) -> Callable[[Sequence[bytes]], None]:
    """Returns a function that runs the SavedModel on a batch of encoded images."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    (name,) = loaded.signatures["serving_default"].structured_input_signature[1]

    def predict(batch: Sequence[bytes]) -> None:
        for output in loaded.signatures["serving_default"](**{name: tf.constant(batch)}).values():
            output.numpy()

    return predict


def _measure_baseline(
    predict: Callable[[Sequence[bytes]], None], images: Sequence[bytes], seconds: float
) -> float:
    """Returns the images per second of the model in this process."""
    endless = itertools.cycle(images)
    predict(list(itertools.islice(endless, BATCH)))  # warm up: the first call after a pause is slower
    count, started = 0, time.perf_counter()
    while (now := time.perf_counter()) < started + seconds:
        predict(list(itertools.islice(endless, BATCH)))
        count += BATCH
    return count / (now - started)


def _run_round(
    options: argparse.Namespace, measure_baseline: Callable[[float], float], client: ProcessPoolExecutor
) -> list[ServingResult]:
    results = []
    before = measure_baseline(options.seconds)
    for protocol, clients in itertools.product(PROTOCOLS, options.clients):
        latencies = client.submit(serving_clients.load, protocol, clients, options.seconds).result()
        after = measure_baseline(options.seconds)
        rate = len(latencies) / options.seconds
        results.append(ServingResult(protocol, clients, rate, (before + after) / 2, latencies))
        before = after
    return results


def _group_results(results: Sequence[ServingResult]) -> dict[tuple[str, int], list[ServingResult]]:
    groups: dict[tuple[str, int], list[ServingResult]] = {}
    for result in results:
        groups.setdefault((result.protocol, result.clients), []).append(result)
    return groups


def _print_table(results: Sequence[ServingResult], model: Path, images: Sequence[bytes]) -> None:
    baselines = [result.baseline_rate for result in results]
    size = statistics.mean(map(len, images)) / 1000
    print(f"{model}, {len(images)} images of {size:.0f} kB on average, {os.cpu_count()} cores")
    print(
        f"baseline, batches of {BATCH}: {statistics.median(baselines):.1f} images/s "
        f"({min(baselines):.1f} to {max(baselines):.1f})"
    )
    print(
        f"{'':6}{'clients':>8}{'images/s':>12}{'ratio':>10}{'range':>14}"
        f"{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"
    )
    for (protocol, clients), rounds in _group_results(results).items():
        ratios = [result.rate / result.baseline_rate for result in rounds]
        rate = statistics.median(result.rate for result in rounds)
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        times = "".join(f"{1000 * time:9.0f}" for time in _percentiles(rounds))
        print(f"{protocol:6}{clients:8}{rate:12.1f}{statistics.median(ratios):10.2f}{spread:>14}{times}")


def _percentiles(rounds: Sequence[ServingResult]) -> list[float]:
    """Returns p50, p95 and p99 over all rounds, in seconds."""
    latencies = sorted(latency for result in rounds for latency in result.latencies) or [math.nan]
    return [latencies[math.ceil(share * len(latencies)) - 1] for share in (0.50, 0.95, 0.99)]


def _draw_chart(results: Sequence[ServingResult], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    groups = _group_results(results)
    for protocol, colour in zip(PROTOCOLS, ("tab:blue", "tab:orange"), strict=True):
        clients = [number for name, number in groups if name == protocol]
        ratios = [
            [result.rate / result.baseline_rate for result in groups[protocol, number]] for number in clients
        ]
        medians = [statistics.median(each) for each in ratios]
        left.plot(clients, medians, "o-", color=colour, label=protocol)
        left.fill_between(clients, [*map(min, ratios)], [*map(max, ratios)], color=colour, alpha=0.2, lw=0)
        times = [_percentiles(groups[protocol, number]) for number in clients]
        for share, style, index in (("p50", "o-", 0), ("p95", "o--", 1), ("p99", "o:", 2)):
            right.plot(
                clients,
                [1000 * each[index] for each in times],
                style,
                color=colour,
                label=f"{protocol} {share}",
            )
    left.axhline(1, color="grey", lw=0.8)
    left.set(
        title=f"Images per second, relative to the model\n(in process, batches of {BATCH})", ylim=(0, None)
    )
    right.set(title="Latency per image, ms", yscale="log")
    for axes in (left, right):
        axes.set(xlabel="clients", xscale="log", xticks=sorted({result.clients for result in results}))
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path)


if __name__ == "__main__":
    main()
