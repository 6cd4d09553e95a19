"""What the machine's devices make of the training: one against all of them, float32 against mixed precision.

    python -m benchmarks.hardware DIR [--size 224] [--epochs 3] [--most 3000] [--virtual N]

DIR holds `train/<class>/*.jpg` for two classes; every tenth picture is kept back to be judged on. Measured
are the pass that makes the features, both phases on them, and fine-tuning that augments on the fly, by the
functions that the Trainer itself calls; what comes once (tracing, compiling, choosing kernels) is left out.
`--virtual N` divides the CPU into N devices, which shows that the command works, and no more.
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
from trainer import backbones, examples, feature_pass, features, hardware, model, stages, weights
from trainer.feature_cache import SHARD_PICTURES, FeatureCache, Split
from trainer.hardware import Hardware
from trainer.preprocessing import decode_and_resize
from trainer.stages import Pictures, Stage
from trainer.training_config import PhaseConfig, TrainingConfig
from trainer.views import Views

_PASS_BATCHES = (64, 256)  # pictures on each device
_LOOK = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200")


class Rate(NamedTuple):
    """How many pictures, or views of them, a second; `accuracy` is that on the pictures kept back."""

    name: str
    per_second: float
    busy: float | None
    accuracy: float | None = None

    def __str__(self) -> str:
        busy = "" if self.busy is None else f"   GPUs busy {self.busy:3.0f} %"
        accuracy = "" if self.accuracy is None else f"   accuracy {self.accuracy:.2%}"
        return f"  {self.name:24} {self.per_second:9,.1f} /s{busy}{accuracy}"


def main() -> None:
    """Prints a table."""
    options = _options()
    if options.virtual:
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * options.virtual
        tf.config.set_logical_device_configuration(cpu, parts)
    recipe = TrainingConfig(
        image_size=options.size,
        frozen=PhaseConfig(epochs=options.epochs + 1, learning_rate=1e-3),
        fine_tuning=PhaseConfig(epochs=options.epochs + 1, learning_rate=5e-5),
    )
    print(machine.sentence(machine.describe()), flush=True)
    with tempfile.TemporaryDirectory() as work:
        pictures = _transformed(options.images, options.most, options.size, Path(work))
        for device in _candidates(options.virtual):
            print(
                f"\n{len(device.devices)} × {device.devices[0].split(':')[0]}, {device.precision}", flush=True
            )
            for rate in _measure(device, recipe, pictures, Path(work) / "features"):
                print(rate, flush=True)
    if not tf.config.list_physical_devices("GPU"):
        print("\nThere is no GPU here: this shows that the command works, and tells nothing about a GPU.")


def _candidates(virtual: int) -> Iterator[Hardware]:
    """One device and all of them, in float32 and, on GPUs where it is of use, in mixed precision."""
    kind = "CPU" if virtual or not tf.config.list_physical_devices("GPU") else "GPU"
    names = [f"{kind}:{number}" for number in range(len(tf.config.list_logical_devices(kind)))]
    for devices in (names[:1], names) if len(names) > 1 else (names,):
        found = hardware.on(devices)
        best = found.precision if kind == "GPU" else "mixed_float16"
        for precision in sorted({"float32", best}):
            yield found._replace(precision=precision)


def _measure(device: Hardware, given: TrainingConfig, pictures: Pictures, root: Path) -> Iterator[Rate]:
    recipe = device.scaled(given)
    keras.utils.set_random_seed(recipe.seed)
    with device.scope():
        backbone = weights.pretrained(recipe.backbone, recipe.image_size, recipe.weights)
        network = model.build(backbone, recipe)
        parts = model.take_apart(network, backbone, recipe.unfrozen_blocks)
        extract = feature_pass.extractor(parts.frozen, device.devices)
        shapes = {kind: tuple(tensor.shape[1:]) for kind, tensor in parts.frozen.output.items()}
        for at_once in _PASS_BATCHES:
            cache = FeatureCache(root / str(at_once), {}, shapes, recipe.feature_cache.dtype)
            splits = {}
            for name, files, count in (("eval", pictures.evaluation, 1), ("train", pictures.train, 2)):
                stored = examples.pictures(files, recipe.image_size)
                splits[name] = Split(name, int(stored.cardinality()), count)
                batch = min(at_once << device.replicas.bit_length() - 1, SHARD_PICTURES)
                with _Watch() as watch:
                    views = Views(recipe, count)
                    feature_pass.fill(cache, splits[name], stored, lambda: extract, views, batch)
            yield Rate(f"views, {at_once} at once", splits["train"].records / watch.seconds, watch.busy)

        def kept(kind: str, name: str, seed: int | None) -> tf.data.Dataset:
            batch = device.whole_batch(recipe.batch_size, splits[name].records)
            return cache.batches(kind, splits[name], batch, recipe.feature_cache.memory_mb, seed)

        learn = functools.partial(_learn, backbone=backbone, jit=device.jit)
        for name, settings, blocks, part, kind in (
            ("head", recipe.frozen, 0, parts.head, model.POOLED),
            ("fine-tuning", recipe.fine_tuning, recipe.unfrozen_blocks, parts.tail, model.ACTIVATIONS),
        ):
            data = kept(kind, "train", recipe.seed), kept(kind, "eval", None)
            yield learn(Stage(name, settings, blocks, part, *data), splits["train"].records)
        last = stages.on_the_fly(network, pictures, recipe, device)[-1]
        yield learn(last._replace(name="fine-tuning, on the fly"), splits["train"].pictures)
    shutil.rmtree(root)


def _learn(stage: Stage, pictures: int, backbone: keras.Model, jit: bool) -> Rate:
    backbones.unfreeze(backbone, stage.unfrozen_blocks)
    steps = stage.settings.epochs * int(stage.train.cardinality())
    model.compile_for_training(stage.model, stage.settings.learning_rate, steps, jit)
    fit = functools.partial(stage.model.fit, stage.train, verbose=0)
    fit(epochs=1)  # traces, compiles and chooses kernels
    with _Watch() as watch:
        fit(initial_epoch=1, epochs=stage.settings.epochs)
    accuracy = stage.model.evaluate(stage.evaluation, return_dict=True, verbose=0)["accuracy"]
    return Rate(stage.name, pictures * (stage.settings.epochs - 1) / watch.seconds, watch.busy, accuracy)


class _Watch:
    """Takes the time, and percent of it in which the GPUs computed, as far as there is nvidia-smi."""

    seconds = 0.0
    busy: float | None = None

    def __enter__(self) -> _Watch:
        self._started = time.perf_counter()
        self._smi = (
            subprocess.Popen(_LOOK, stdout=subprocess.PIPE, text=True) if shutil.which(_LOOK[0]) else None
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        if self._smi:
            self._smi.terminate()
            looks = [int(line) for line in self._smi.communicate()[0].split() if line.isdigit()]
            self.busy = statistics.fmean(looks) if looks else None


def _transformed(images: Path, most: int, size: int, work: Path) -> Pictures:
    """Writes what Transform would; returns the files to train on and to be judged by."""
    folders = sorted(path for path in (images / "train").iterdir() if path.is_dir())
    if len(folders) != 2:
        sys.exit(
            f"{images / 'train'} has {len(folders)} folders of pictures: expected two, one for each class."
        )
    found = [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.glob("*.jpg"))]
    random.Random(0).shuffle(found)
    files = {name: str(work / name) for name in ("train", "eval")}
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(tf.io.TFRecordWriter(file)) for name, file in files.items()}
        for number, (path, label) in enumerate(found[:most]):
            pixels = decode_and_resize(tf.constant([path.read_bytes()]), size)[0]
            example = tf.train.Example()
            stored = example.features.feature[features.PIXELS].bytes_list
            stored.value.append(tf.io.serialize_tensor(pixels).numpy())
            example.features.feature[features.LABEL].int64_list.value.append(label)
            writers["train" if number % 10 else "eval"].write(example.SerializeToString())
    return Pictures([files["train"]], [files["eval"]])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, metavar="DIR")
    parser.add_argument("--size", type=int, default=224, help="pixels (default: 224)")
    parser.add_argument("--epochs", type=int, default=3, help="of each phase, that count (default: 3)")
    parser.add_argument("--most", type=int, default=3000, help="pictures to take at most (default: 3000)")
    parser.add_argument("--virtual", type=int, default=0, metavar="N", help="divide the CPU into N devices")
    return parser.parse_args()


if __name__ == "__main__":
    main()
