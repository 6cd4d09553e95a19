"""Runs in the container: predicts images (further arguments) with the newest model of the first argument.

Prints one line of JSON: the version, the accuracy and the probabilities.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf

repository, images = Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]]
newest = max((path for path in repository.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
predict = tf.saved_model.load(str(newest)).signatures["serving_default"]
predictions = predict(image_bytes=tf.constant([image.read_bytes() for image in images]))
labels = [label.decode() for label in predictions["label"].numpy()]
correct = sum(image.parent.name == label for image, label in zip(images, labels, strict=True))
probability = predictions["dog_probability"].numpy().tolist()
print(json.dumps({"version": newest.name, "accuracy": correct / len(images), "dog_probability": probability}))
