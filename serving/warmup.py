"""Requests that travel with a model: a server answers them before all others, so that none finds it cold.

TensorFlow Serving reads them from `assets.extra/tf_serving_warmup_requests`, a TFRecord of `PredictionLog`s.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

FILE = "assets.extra/tf_serving_warmup_requests"
MOST_REQUESTS = 1000


def write(path: Path, model_name: str, pictures: Sequence[bytes]) -> None:
    """Writes one request to `serving_default` for each picture.

    Args:
        path: The file, replaced as a whole; its folder is made.
        model_name: What requests call the model.
        pictures: Encoded pictures, as the input `image_bytes` takes them.
    """
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with tf.io.TFRecordWriter(str(beside)) as writer:
            for picture in pictures:
                log = PredictionLog()
                request = log.predict_log.request
                request.model_spec.name = model_name
                request.model_spec.signature_name = "serving_default"
                request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([picture]))
                writer.write(log.SerializeToString())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
