"""Asks TensorFlow Serving, or what speaks its protocol, about pictures, over REST or gRPC."""

from serving.client.answers import Prediction, Refused, Unreachable, VersionStatus
from serving.client.client import MAX_REQUEST_BYTES, Client

__all__ = ["MAX_REQUEST_BYTES", "Client", "Prediction", "Refused", "Unreachable", "VersionStatus"]
