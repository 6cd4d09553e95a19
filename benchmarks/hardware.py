"""Compares the training speed of one device with that of all devices, in float32 and mixed precision.

    python -m benchmarks.hardware DIR [--size 224] [--epochs 3] [--most 3000] [--virtual N]

DIR holds `train/<class>/*.jpg` for two classes; every tenth image is held out for evaluation. The benchmark
calls the Trainer's own functions to time feature extraction, both phases on cached features, and fine-tuning
on augmented images. One-off costs (tracing, compiling, selecting kernels) are not timed.
`--virtual N` divides the CPU into N devices, to test the command without GPUs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

from benchmarks import machine
from trainer import datasets, feature_extraction, features, hardware, model, phases, weights
from trainer.augmentation import AugmentedViews
from trainer.datasets import ExampleFiles
from trainer.feature_cache import SHARD_IMAGES, CachedSplit, FeatureCache
from trainer.hardware import Hardware
from trainer.phases import Phase
from trainer.preprocessing import decode_and_resize
from trainer.training_config import PhaseConfig, TrainingConfig

_EXTRACTION_BATCHES = (64, 256)  # images per device
_GPU_QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200")


class Throughput(NamedTuple):
    """Images (or views) per second, mean GPU utilization in percent, and accuracy on held-out images."""

    name: str
    per_second: float
    gpu_utilization: float | None
    accuracy: float | None = None

    def __str__(self) -> str:
        busy = "" if self.gpu_utilization is None else f"   GPUs busy {self.gpu_utilization:3.0f} %"
        accuracy = "" if self.accuracy is None else f"   accuracy {self.accuracy:.2%}"
        return f"  {self.name:24} {self.per_second:9,.1f} /s{busy}{accuracy}"


def main() -> None:
    """Prints the throughput of each device configuration."""
    options = _parse_options()
    if options.virtual:
        (cpu,) = tf.config.list_physical_devices("CPU")
        logical_devices = [tf.config.LogicalDeviceConfiguration()] * options.virtual
        tf.config.set_logical_device_configuration(cpu, logical_devices)
    config = TrainingConfig(
        image_size=options.size,
        frozen=PhaseConfig(epochs=options.epochs + 1, learning_rate=1e-3),
        fine_tuning=PhaseConfig(epochs=options.epochs + 1, learning_rate=5e-5),
    )
    print(machine.format_machine(machine.describe()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        files = _write_examples(options.images, options.most, options.size, Path(folder))
        for devices in _candidates(options.virtual):
            kind = devices.devices[0].split(":")[0]
            print(f"\n{len(devices.devices)} × {kind}, {devices.precision}", flush=True)
            for throughput in _measure(devices, config, files, Path(folder) / "features"):
                print(throughput, flush=True)
    if not tf.config.list_physical_devices("GPU"):
        print("\nThis machine has no GPU: the results say nothing about GPUs.")


def _candidates(virtual: int) -> Iterator[Hardware]:
    """Yields one device and all devices, in float32 and, if it is useful, in mixed precision."""
    kind = "CPU" if virtual or not tf.config.list_physical_devices("GPU") else "GPU"
    names = [f"{kind}:{number}" for number in range(len(tf.config.list_logical_devices(kind)))]
    for selected in (names[:1], names) if len(names) > 1 else (names,):
        devices = hardware.with_devices(selected)
        best = devices.precision if kind == "GPU" else "mixed_float16"
        for precision in sorted({"float32", best}):
            yield devices._replace(precision=precision)


def _measure(
    devices: Hardware, base_config: TrainingConfig, files: ExampleFiles, cache_root: Path
) -> Iterator[Throughput]:
    config = devices.scale_config(base_config)
    keras.utils.set_random_seed(config.seed)
    with devices.scope():
        backbone = weights.load_backbone(config.backbone, config.image_size, config.weights)
        network = model.build(backbone, config)
        divided = model.divide_network(network, backbone, config.unfrozen_blocks)
        assert divided.trainable_part is not None
        extract = feature_extraction.build_extractor(divided.frozen_part, devices.devices)
        shapes = {name: tuple(tensor.shape[1:]) for name, tensor in divided.frozen_part.output.items()}
        for per_device in _EXTRACTION_BATCHES:
            cache = FeatureCache(cache_root / str(per_device), {}, shapes, config.feature_cache.dtype)
            splits = {}
            for split, paths, view_count in (("eval", files.evaluation, 1), ("train", files.train, 2)):
                images = datasets.read_images(paths, config.image_size)
                splits[split] = CachedSplit(split, int(images.cardinality()), view_count)
                batch_size = min(per_device << devices.replicas.bit_length() - 1, SHARD_IMAGES)
                with _Timer() as timer:
                    views = AugmentedViews(config, view_count)
                    feature_extraction.fill_cache(
                        cache, splits[split], images, lambda: extract, views, batch_size
                    )
            rate = splits["train"].records / timer.seconds
            yield Throughput(f"views, batches of {per_device}", rate, timer.gpu_utilization)

        def batches(feature: str, split: str, seed: int | None) -> tf.data.Dataset:
            batch_size = devices.fit_batch_size(config.batch_size, splits[split].records)
            return cache.batches(feature, splits[split], batch_size, config.feature_cache.memory_mb, seed)

        time_phase = functools.partial(_time_phase, backbone=backbone, jit=devices.jit)
        blocks = config.unfrozen_blocks
        for name, phase_config, unfrozen_blocks, part, feature in (
            ("head", config.frozen, 0, divided.head, model.POOLED),
            ("fine-tuning", config.fine_tuning, blocks, divided.trainable_part, model.ACTIVATIONS),
        ):
            data = batches(feature, "train", config.seed), batches(feature, "eval", None)
            phase = Phase(name, phase_config, unfrozen_blocks, part, *data)
            yield time_phase(phase, splits["train"].records)
        fine_tuning = phases.image_phases(network, files, config, devices)[-1]
        yield time_phase(fine_tuning._replace(name="fine-tuning on images"), splits["train"].images)
    shutil.rmtree(cache_root)


def _time_phase(phase: Phase, examples: int, backbone: keras.Model, jit: bool) -> Throughput:
    phase.prepare(backbone, jit)
    fit = functools.partial(phase.model.fit, phase.train, verbose=0)
    fit(epochs=1)  # traces, compiles and selects kernels
    with _Timer() as timer:
        fit(initial_epoch=1, epochs=phase.config.epochs)
    accuracy = phase.model.evaluate(phase.evaluation, return_dict=True, verbose=0)["accuracy"]
    rate = examples * (phase.config.epochs - 1) / timer.seconds
    return Throughput(phase.name, rate, timer.gpu_utilization, accuracy)


class _Timer:
    """Measures the time and, if nvidia-smi is installed, the mean GPU utilization in percent."""

    seconds = 0.0
    gpu_utilization: float | None = None

    def __enter__(self) -> _Timer:
        self._started = time.perf_counter()
        has_smi = shutil.which(_GPU_QUERY[0])
        self._smi = subprocess.Popen(_GPU_QUERY, stdout=subprocess.PIPE, text=True) if has_smi else None
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        if self._smi:
            self._smi.terminate()
            samples = [int(line) for line in self._smi.communicate()[0].split() if line.isdigit()]
            self.gpu_utilization = statistics.fmean(samples) if samples else None


def _write_examples(images: Path, most: int, size: int, folder: Path) -> ExampleFiles:
    """Writes transformed examples, as Transform does."""
    class_folders = sorted(path for path in (images / "train").iterdir() if path.is_dir())
    if len(class_folders) != 2:
        sys.exit(
            f"{images / 'train'} has {len(class_folders)} folders of images: expected two, one per class."
        )
    labelled = [
        (path, label) for label, images in enumerate(class_folders) for path in sorted(images.glob("*.jpg"))
    ]
    random.Random(0).shuffle(labelled)
    files = {name: str(folder / name) for name in ("train", "eval")}
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(tf.io.TFRecordWriter(file)) for name, file in files.items()}
        for number, (path, label) in enumerate(labelled[:most]):
            pixels = decode_and_resize(tf.constant([path.read_bytes()]), size)[0]
            example = tf.train.Example()
            stored = example.features.feature[features.PIXELS].bytes_list
            stored.value.append(tf.io.serialize_tensor(pixels).numpy())
            example.features.feature[features.LABEL].int64_list.value.append(label)
            writers["train" if number % 10 else "eval"].write(example.SerializeToString())
    return ExampleFiles([files["train"]], [files["eval"]])


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, metavar="DIR")
    parser.add_argument("--size", type=int, default=224, help="image size in pixels (default: 224)")
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs of each phase (default: 3)")
    parser.add_argument("--most", type=int, default=3000, help="maximum number of images (default: 3000)")
    parser.add_argument("--virtual", type=int, default=0, metavar="N", help="divide the CPU into N devices")
    return parser.parse_args()


if __name__ == "__main__":
    main()
