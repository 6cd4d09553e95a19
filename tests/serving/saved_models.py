"""Tiny SavedModels; each function writes one version and returns its folder."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainer import signatures


def half_plus_two(model_dir: Path, version: int = 123) -> Path:
    """`x` float [-1, 1] → `y` = x / 2 + 2."""

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / 2.0 + 2.0}

    return _save(tf.Module(), model_dir, version, serve)


def versioned(model_dir: Path, version: int, output: int | None = None) -> Path:
    """`x` float [-1] → `y` = x + the version, `version` int64 [-1]; `output` overrides that version."""
    output = version if output is None else output
    module = tf.Module()
    module.version = tf.Variable(output, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        value = module.version.read_value()
        return {"y": x + tf.cast(value, tf.float32), "version": tf.repeat(value, tf.shape(x)[0])}

    return _save(module, model_dir, version, serve, cache_key=f"versioned {output}")


def identity(model_dir: Path, inputs: Mapping[str, tf.TensorSpec], version: int = 1) -> Path:
    """Returns every input under its name: `identity(folder, {"x": tf.TensorSpec([None], tf.string)})`."""
    specs = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()]

    @tf.function(input_signature=specs)
    def serve(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tf.identity(value) for name, value in zip(inputs, values, strict=True)}

    return _save(tf.Module(), model_dir, version, serve)


def dense(model_dir: Path, version: int = 1) -> Path:
    """`x` float [-1, 4] → `y` float [-1, 3]: a product with a [4, 3] variable of 0 … 11."""
    module = tf.Module()
    module.kernel = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.matmul(x, module.kernel)}

    return _save(module, model_dir, version, serve)


def image_mean(model_dir: Path, version: int = 1) -> Path:
    """`image_bytes` string [-1] → `mean` float [-1] of the pixels that tf.io.decode_image returns."""

    def mean(encoded: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.reduce_mean(tf.cast(pixels, tf.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.map_fn(mean, image_bytes, fn_output_signature=tf.float32)}

    return _save(tf.Module(), model_dir, version, serve)


def unbatched(model_dir: Path, version: int = 1) -> Path:
    """`x` float [2] → `total` float []: nothing to batch."""

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.reduce_sum(x)}

    return _save(tf.Module(), model_dir, version, serve)


def classifier(
    model_dir: Path,
    version: int = 1,
    image_size: int = 32,
    class_names: tuple[str, str] = ("cat", "dog"),
    seed: int = 0,
) -> Path:
    """An image classifier with random weights and the signatures of the pipeline's models."""

    def write(folder: Path) -> None:
        keras.utils.set_random_seed(seed)
        pixels = keras.Input((image_size, image_size, 3))
        x = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
        x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        network = keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(x))
        signatures.export(network, image_size, class_names, 50_000_000, str(folder))

    return _write_version(
        model_dir, version, write, cache_key=f"classifier {image_size} {class_names} {seed}"
    )


def _save(
    module: tf.Module, model_dir: Path, version: int, serve: Callable, cache_key: str | None = None
) -> Path:
    def write(folder: Path) -> None:
        tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})

    return _write_version(model_dir, version, write, cache_key)


def _write_version(
    model_dir: Path, version: int, write: Callable[[Path], None], cache_key: str | None
) -> Path:
    """Writes a version; versions with the same `cache_key` are written once and then copied."""
    model_dir.mkdir(parents=True, exist_ok=True)
    temporary_path = model_dir / f".writing-{uuid.uuid4().hex}"
    try:
        if cache_key is None:
            write(temporary_path)
        else:
            if not (_cache_dir() / cache_key).exists():
                write(_cache_dir() / cache_key)
            shutil.copytree(_cache_dir() / cache_key, temporary_path)
        return temporary_path.rename(model_dir / str(version))
    finally:
        shutil.rmtree(temporary_path, ignore_errors=True)


@functools.cache
def _cache_dir() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="catsdogs-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
