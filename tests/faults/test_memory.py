"""The memory of Beam steps, each measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts import RejectedImages
from components.errors import DataRejected
from components.prediction_table import table
from pipelines import node_configs
from pipelines.pipeline import build
from pipelines.settings.loading import load
from tests.components import counted_examples, prediction_tables
from trainer import features

TIMES = 20
LARGE_IMAGES, LARGE_BYTES = 300, 5_000_000
EMPTY_FILES = 20_000

pytestmark = pytest.mark.slow


def memory_mb(name: str) -> float:
    """Returns `VmRSS` or `VmHWM`, its peak, of this process."""
    [kilobytes] = re.findall(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024 / 1e6


def examples_in(folder: Path, split: str) -> types.Artifact:
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names([split])
    examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(artifact, "tfrecords_gzip")
    return artifact


def run_step(
    name: str, inputs: dict[str, Any], outputs: dict[str, Any], folder: Path, overrides: Sequence[str] = ()
) -> None:
    """Runs the executor of a node of the pipeline, with the node's parameters and Beam arguments."""
    settings = load(overrides=[f"output_root={folder}", *overrides])
    [node] = [node for node in build(settings).components if node.id == name]
    arguments = node_configs.beam(settings, name)
    context = base_beam_executor.BaseBeamExecutor.Context(arguments, tmp_dir=str(folder / "tmp"))
    node.executor_spec.executor_class(context).Do(inputs, outputs, node.exec_properties)


def evaluate(folder: Path, times: int) -> list[float]:
    """Runs the Evaluator on 300 rows; returns the resident memory after each time, then the peak."""
    table.write(str(folder / "table"), prediction_tables.table(*prediction_tables.drawn(300)))
    memory = []
    for number in range(times):
        evaluation = standard_artifacts.ModelEvaluation()
        evaluation.uri = str(folder / f"evaluation-{number}")
        inputs = {"examples": [examples_in(folder / "table", table.SPLIT)]}
        run_step("Evaluator", inputs, {"evaluation": [evaluation]}, folder)
        memory.append(memory_mb("VmRSS"))
    return [*memory, memory_mb("VmHWM")]


def count_statistics(folder: Path) -> tuple[float, float]:
    """Runs StatisticsGen on large images; returns the memory before, and the peak."""
    values = counted_examples.columns(LARGE_IMAGES)
    values[features.ENCODED] = [bytes(LARGE_BYTES)] * LARGE_IMAGES
    counted_examples.write(values, folder / "Split-train" / "examples.gz")
    inputs = {"examples": [examples_in(folder, "train")]}
    statistics = standard_artifacts.ExampleStatistics()
    statistics.uri = str(folder / "statistics")
    before = memory_mb("VmHWM")
    run_step("StatisticsGen", inputs, {"statistics": [statistics]}, folder)
    return before, memory_mb("VmHWM")


def ingest_empty_files(folder: Path) -> tuple[float, float]:
    """Runs ImageExampleGen on files that are all rejected; returns the memory before, and the peak."""
    for number in range(EMPTY_FILES):
        class_folder = folder / "images" / ("cat", "dog")[number % 2]
        class_folder.mkdir(parents=True, exist_ok=True)
        (class_folder / f"{number:06}.jpg").touch()
    outputs: dict[str, Any] = {"examples": [standard_artifacts.Examples()], "rejected": [RejectedImages()]}
    for name, [artifact] in outputs.items():
        artifact.uri = str(folder / name)
        Path(artifact.uri).mkdir()
    images = ["data.source=folder", f"data.folder={folder / 'images'}", "data.max_rejected_fraction=1"]
    before = memory_mb("VmHWM")
    with pytest.raises(DataRejected):  # at the end: each split is empty
        run_step("ImageExampleGen", {}, outputs, folder, images)
    return before, memory_mb("VmHWM")


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


@pytest.mark.faults
def test_the_evaluator_needs_the_same_memory_every_time(tmp_path: Path) -> None:
    first, *_, last, peak = in_new_process(evaluate, tmp_path, TIMES)
    print(f"Evaluator: {first:.0f} MB after the first time, {last:.0f} after the last, peak {peak:.0f}")
    assert last - first < 100
    assert peak - first < 200


def test_statistics_do_not_hold_encoded_images_in_memory(tmp_path: Path) -> None:
    before, peak = in_new_process(count_statistics, tmp_path)
    print(f"StatisticsGen: {before:.0f} MB before, peak {peak:.0f}")
    assert peak - before < LARGE_IMAGES * LARGE_BYTES / 1e6 / 2


def test_a_file_takes_little_memory_while_it_is_ingested(tmp_path: Path) -> None:
    before, peak = in_new_process(ingest_empty_files, tmp_path)
    print(f"ImageExampleGen: {before:.0f} MB before, peak {peak:.0f}, of {EMPTY_FILES:,} files")
    assert (peak - before) / EMPTY_FILES < 0.007
