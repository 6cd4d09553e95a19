"""Warm-up requests, which are stored with a model. A server runs them before it serves the model.

TensorFlow Serving reads them from `assets.extra/tf_serving_warmup_requests`, a TFRecord of `PredictionLog`s.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

REQUESTS_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_REQUESTS = 1000


def write_requests(path: Path, model_name: str, images: Sequence[bytes]) -> None:
    """Writes one request to the signature `serving_default` per image.

    Args:
        path: The file, written atomically; missing parent folders are created.
        model_name: Name of the model in the requests.
        images: Encoded images for the input `image_bytes`.
    """
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_path = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with tf.io.TFRecordWriter(str(temporary_path)) as writer:
            for image in images:
                log = PredictionLog()
                request = log.predict_log.request
                request.model_spec.name = model_name
                request.model_spec.signature_name = "serving_default"
                request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
                writer.write(log.SerializeToString())
        temporary_path.replace(path)
    finally:
        temporary_path.unlink(missing_ok=True)
