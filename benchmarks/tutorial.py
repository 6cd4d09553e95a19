"""TensorFlow's transfer-learning tutorial as a plain script: the baseline of `benchmarks.compare`.

    python -m benchmarks.tutorial DIR [--seed 0]

https://www.tensorflow.org/tutorials/images/transfer_learning, step by step: MobileNetV2 at 160 px, batches of
32 from `image_dataset_from_directory` with prefetching, random flips and rotations inside the network, ten
epochs of the head (Adam, 1e-4), then ten more from layer 100 on (RMSprop, 1e-5), each followed by validation
on four fifths of the validation folder. Nothing slows the script down:

- It omits the notebook's plots and its evaluation of the untrained network.
- It loads the weights from the package that the pipeline uses, and downloads nothing.
- Without a GPU, Keras' default `jit_compile="auto"`, which the notebook uses, means no XLA; on a CPU that is
  by far the faster choice.
- It measures the accuracy on the whole validation folder after each phase, but does not count that time.

The script trains on DIR/train, evaluates on DIR/validation, and prints a line of JSON at the end.
"""

# ruff: noqa: E402 - the time includes the imports

from __future__ import annotations

import time

STARTED = time.perf_counter()

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

import keras
import tensorflow as tf

from trainer import weights

SIZE = 160  # pixels
BATCH = 32
EPOCHS = 10  # of each phase
LEARNING_RATE = 1e-4
FIRST_UNFROZEN_LAYER = 100


class Clock:
    """Measures the time of each part of the script.

    Attributes:
        seconds: Seconds by part, in order.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"imports": time.perf_counter() - STARTED}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the time of the `with` block to a part."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def main() -> None:
    """Trains, and prints the times and accuracies."""
    clock = Clock()
    options = _parse_options()
    keras.utils.set_random_seed(options.seed)
    with clock.part("images and network"):
        train = _read_folder(options.images / "train")
        validation = _read_folder(options.images / "validation")
        train_images, test_images = len(train.file_paths), len(validation.file_paths)
        validation_subset = validation.skip(validation.cardinality() // 5).prefetch(tf.data.AUTOTUNE)
        train = train.prefetch(tf.data.AUTOTUNE)
        base = weights.load_backbone("MobileNetV2", SIZE, "packaged")
        model = _build_model(base)
    correct, trainable = {}, {}
    with clock.part("frozen"):
        _compile(model, keras.optimizers.Adam(LEARNING_RATE))
        trainable["frozen"] = len(model.trainable_variables)
        model.fit(train, epochs=options.epochs, validation_data=validation_subset, verbose=2)
    with clock.part("measuring"):
        correct["frozen"] = _count_correct(model, validation, test_images)
    with clock.part("fine-tuning"):
        base.trainable = True
        for layer in base.layers[:FIRST_UNFROZEN_LAYER]:
            layer.trainable = False
        _compile(model, keras.optimizers.RMSprop(LEARNING_RATE / 10))
        trainable["fine-tuning"] = len(model.trainable_variables)
        model.fit(
            train,
            epochs=2 * options.epochs,
            initial_epoch=options.epochs,
            validation_data=validation_subset,
            verbose=2,
        )
    with clock.part("measuring"):
        correct["fine-tuning"] = _count_correct(model, validation, test_images)
    result = {
        "seconds": {name: round(seconds, 2) for name, seconds in clock.seconds.items()},
        "train_images": train_images,
        "test_images": test_images,
        "correct": correct,
        "trainable": trainable,
        "xla": bool(model.jit_compile),
    }
    print(json.dumps(result))


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder with train/<class>/* and validation/<class>/*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="epochs of each phase (the tutorial: 10)")
    return parser.parse_args()


def _read_folder(folder: Path) -> tf.data.Dataset:
    return keras.utils.image_dataset_from_directory(
        folder, shuffle=True, batch_size=BATCH, image_size=(SIZE, SIZE)
    )


def _build_model(base: keras.Model) -> keras.Model:
    base.trainable = False
    augmentation = keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.2)])
    inputs = keras.Input((SIZE, SIZE, 3))
    features = base(keras.applications.mobilenet_v2.preprocess_input(augmentation(inputs)), training=False)
    pooled = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(features))
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(pooled))


def _compile(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.5, name="accuracy")],
    )


def _count_correct(model: keras.Model, validation: tf.data.Dataset, images: int) -> int:
    """Returns the number of correct predictions on the validation folder."""
    accuracy = model.evaluate(validation.prefetch(tf.data.AUTOTUNE), return_dict=True, verbose=0)["accuracy"]
    return round(accuracy * images)


if __name__ == "__main__":
    main()
