"""A client for TensorFlow Serving and servers with the same protocol, over REST or gRPC."""

from serving.client.client import MAX_REQUEST_BYTES, Client
from serving.client.protocol import Prediction, RequestRejected, Unreachable, VersionStatus

__all__ = ["MAX_REQUEST_BYTES", "Client", "Prediction", "RequestRejected", "Unreachable", "VersionStatus"]
