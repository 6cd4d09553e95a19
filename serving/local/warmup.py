"""Replays the warm-up requests of a version before it serves, as TensorFlow Serving does."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.local.servable import Servable
from serving.local.status import StatusError, invalid_argument
from serving.warmup import MAX_REQUESTS, REQUESTS_FILE

_log = logging.getLogger(__name__)


def replay_requests(servable: Servable, folder: Path) -> int:
    """Runs the warm-up requests in a version's folder.

    Classify and regress requests are skipped, although TensorFlow Serving replays them. The size of images is
    not checked: the folder is trusted, as it contains the model itself.

    Args:
        servable: The loaded version.
        folder: The version's folder.

    Returns:
        Number of replayed requests; 0 if there is no warm-up file.

    Raises:
        StatusError: The file is damaged, has more than 1,000 requests, or one of them fails.
    """
    path = folder / REQUESTS_FILE
    if not path.exists():
        return 0
    replayed = 0
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator(), start=1):
            if number > MAX_REQUESTS:
                raise invalid_argument(
                    f"Number of warmup records exceeds the maximum ({MAX_REQUESTS}) at {path}"
                )
            replayed += _replay(servable, record, path)
    except tf.errors.DataLossError as error:
        raise StatusError(
            grpc.StatusCode.DATA_LOSS,
            f"{error.message}. Please verify your warmup data is in TFRecord format.",
        ) from None
    return replayed


def _replay(servable: Servable, record: bytes, path: Path) -> bool:
    try:
        log = PredictionLog.FromString(record)
    except DecodeError:
        raise invalid_argument(f"Failed to parse warmup record: {record[:100]!r} from {path}") from None
    log_type = log.WhichOneof("log_type")
    if log_type == "predict_log":
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        servable.run(request.model_spec.signature_name, inputs, request.output_filter)
        return True
    if log_type in ("session_run_log", "predict_streamed_log"):
        number = log.DESCRIPTOR.fields_by_name[log_type].number
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    _log.info("skipping a %s in %s", log_type or "record without a request", path)
    return False
