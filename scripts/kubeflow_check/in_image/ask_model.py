"""Run in the image: asks the newest model in a folder (the first argument) about pictures (the others).

Prints one line of JSON: the version, the share of right answers, and the probabilities.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf

served, pictures = Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]]
newest = max((path for path in served.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
predict = tf.saved_model.load(str(newest)).signatures["serving_default"]
answer = predict(image_bytes=tf.constant([picture.read_bytes() for picture in pictures]))
labels = [label.decode() for label in answer["label"].numpy()]
right = sum(picture.parent.name == label for picture, label in zip(pictures, labels, strict=True))
probabilities = answer["dog_probability"].numpy().tolist()
print(json.dumps({"version": newest.name, "right": right / len(pictures), "dog_probability": probabilities}))
