"""Replays the warm-up requests of a model version before the server serves it, as TensorFlow Serving does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from serving.warmup import MAX_REQUESTS, REQUESTS_FILE

if TYPE_CHECKING:
    from serving.local.servable import Servable

_log = logging.getLogger(__name__)


def replay(servable: Servable, folder: Path) -> int:
    """Answers the requests that came with a version, as TensorFlow Serving does before it serves it.

    Requests to classify or regress, which the real server answers too, are passed over. Pictures may be of
    any size here: who can write a version's folder is trusted with the model itself.

    Args:
        servable: The version, loaded.
        folder: Its folder.

    Returns:
        How many requests were answered; 0 where there is no file.

    Raises:
        StatusError: The file is damaged or has more than 1,000 requests, or one of them fails.
    """
    import grpc
    import tensorflow as tf

    from serving.local.status import StatusError, invalid_argument

    path = folder / REQUESTS_FILE
    if not path.exists():
        return 0
    answered = 0
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator(), start=1):
            if number > MAX_REQUESTS:
                raise invalid_argument(
                    f"Number of warmup records exceeds the maximum ({MAX_REQUESTS}) at {path}"
                )
            answered += _answer(servable, record, path)
    except tf.errors.DataLossError as error:
        raise StatusError(
            grpc.StatusCode.DATA_LOSS,
            f"{error.message}. Please verify your warmup data is in TFRecord format.",
        ) from None
    return answered


def _answer(servable: Servable, record: bytes, path: Path) -> bool:
    import grpc
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    from serving.local.status import StatusError, invalid_argument

    try:
        log = PredictionLog.FromString(record)
    except DecodeError:
        raise invalid_argument(f"Failed to parse warmup record: {record[:100]!r} from {path}") from None
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        servable.run(request.model_spec.signature_name, inputs, request.output_filter)
        return True
    if kind in ("session_run_log", "predict_streamed_log"):
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    _log.info("passing over a %s in %s", kind or "record without a request", path)
    return False
