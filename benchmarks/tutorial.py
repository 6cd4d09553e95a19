"""TensorFlow's transfer-learning tutorial as a plain script: what `benchmarks.compare` measures ours against.

    python -m benchmarks.tutorial DIR [--seed 0]

https://www.tensorflow.org/tutorials/images/transfer_learning, step by step: MobileNetV2 at 160 px, batches of
32 from `image_dataset_from_directory` with prefetching, random flips and rotations within the network, ten
epochs of the head (Adam, 1e-4), then ten more from layer 100 on (RMSprop, 1e-5), each of them followed by a
look at four fifths of the validation folder. It is not slowed down by anything:

- The notebook's plots and its looks at the untrained network are left out.
- The weights come from the package that our pipeline takes them from, and are not downloaded.
- Without a GPU, Keras' "auto", which the notebook leaves it at, means no XLA; on a CPU that is by far the
  quicker.
- How good the model is, on all pictures of the validation folder, is measured after each phase and not
  counted.

It trains on DIR/train, is judged on DIR/validation, and ends with a line of JSON.
"""

# ruff: noqa: E402 - the imports are part of what is timed

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
    """Takes the time of the script's parts.

    Attributes:
        seconds: Of each part, in their order.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"imports": time.perf_counter() - STARTED}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Takes the time of what is done within."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def main() -> None:
    """Trains, and prints what came of it."""
    clock = Clock()
    options = _options()
    keras.utils.set_random_seed(options.seed)
    with clock.part("pictures and network"):
        train, validation = _folder(options.images / "train"), _folder(options.images / "validation")
        trained, pictures = len(train.file_paths), len(validation.file_paths)
        often = validation.skip(validation.cardinality() // 5).prefetch(tf.data.AUTOTUNE)
        train = train.prefetch(tf.data.AUTOTUNE)
        base = weights.pretrained("MobileNetV2", SIZE, "packaged")
        model = _model(base)
    correct, trainable = {}, {}
    with clock.part("frozen"):
        _compile(model, keras.optimizers.Adam(LEARNING_RATE))
        trainable["frozen"] = len(model.trainable_variables)
        model.fit(train, epochs=options.epochs, validation_data=often, verbose=2)
    with clock.part("measuring"):
        correct["frozen"] = _correct(model, validation, pictures)
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
            validation_data=often,
            verbose=2,
        )
    with clock.part("measuring"):
        correct["fine-tuning"] = _correct(model, validation, pictures)
    found = {
        "seconds": {name: round(seconds, 2) for name, seconds in clock.seconds.items()},
        "trained": trained,
        "pictures": pictures,
        "correct": correct,
        "trainable": trainable,
        "xla": bool(model.jit_compile),
    }
    print(json.dumps(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder with train/<class>/* and validation/<class>/*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each phase (the tutorial: 10)")
    return parser.parse_args()


def _folder(folder: Path) -> tf.data.Dataset:
    return keras.utils.image_dataset_from_directory(
        folder, shuffle=True, batch_size=BATCH, image_size=(SIZE, SIZE)
    )


def _model(base: keras.Model) -> keras.Model:
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


def _correct(model: keras.Model, validation: tf.data.Dataset, pictures: int) -> int:
    """Returns how many pictures of the validation folder are told right."""
    accuracy = model.evaluate(validation.prefetch(tf.data.AUTOTUNE), return_dict=True, verbose=0)["accuracy"]
    return round(accuracy * pictures)


if __name__ == "__main__":
    main()
