"""Asks TensorFlow Serving, or what speaks its protocol, about pictures, over REST or gRPC."""

from serving.client.client import MAX_REQUEST_BYTES, Client
from serving.client.transport import Prediction, Refused, Unreachable, VersionStatus

__all__ = ["MAX_REQUEST_BYTES", "Client", "Prediction", "Refused", "Unreachable", "VersionStatus"]
