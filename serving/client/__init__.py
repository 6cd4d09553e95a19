"""Asks TensorFlow Serving, or what speaks its protocol, about pictures, over REST or gRPC."""

from serving.client.client import MAX_REQUEST_BYTES, Client
from serving.client.transport import Prediction, RequestRejected, Unreachable, VersionStatus

__all__ = ["MAX_REQUEST_BYTES", "Client", "Prediction", "RequestRejected", "Unreachable", "VersionStatus"]
