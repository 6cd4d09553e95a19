"""TensorFlow Serving's configuration files as protobuf messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message

from tests.serving.tf_serving.shipped import HERE


def message(
    package: str, name: str, fields: list[tuple[str, int, Any]], *, nested: str = ""
) -> type[Message]:
    """Declares a message that `tensorflow-serving-api` lacks; a type is a scalar's or message's name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=package, syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    if nested:
        inner = file.message_type.add(name=nested)
        inner.field.add(name="enable", number=1, type=FieldDescriptorProto.TYPE_BOOL, label=1)
        inner.field.add(name="path", number=2, type=FieldDescriptorProto.TYPE_STRING, label=1)
    declared = file.message_type.add(name=name)
    for field, number, kind in fields:
        label = 3 if field == "allowed_batch_sizes" else 1
        if isinstance(kind, str):
            added = declared.field.add(name=field, number=number, label=label, type_name=kind)
            added.type = FieldDescriptorProto.TYPE_MESSAGE
        else:
            declared.field.add(name=field, number=number, label=label, type=kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


@cache
def batching_parameters() -> type[Message]:
    """Returns the message of session_bundle_config.proto (at 9d981c5c), with its names, numbers and types."""
    int64, boolean, string = (f".google.protobuf.{kind}Value" for kind in ("Int64", "Bool", "String"))
    fields = [
        ("max_batch_size", 1, int64),
        ("batch_timeout_micros", 2, int64),
        ("max_enqueued_batches", 3, int64),
        ("num_batch_threads", 4, int64),
        ("thread_pool_name", 5, string),
        ("allowed_batch_sizes", 6, FieldDescriptorProto.TYPE_INT64),
        ("pad_variable_length_inputs", 7, FieldDescriptorProto.TYPE_BOOL),
        ("enable_large_batch_splitting", 8, boolean),
        ("max_execution_batch_size", 9, int64),
    ]
    return message("tensorflow.serving", "BatchingParameters", fields)


@cache
def monitoring_config() -> type[Message]:
    """Returns the message of monitoring_config.proto (at 9d981c5c)."""
    fields = [("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig")]
    return message("tensorflow.serving", "MonitoringConfig", fields, nested="PrometheusConfig")


def model_server_config() -> type[Message]:
    from tensorflow_serving.config import model_server_config_pb2

    return model_server_config_pb2.ModelServerConfig


PROTOS: Mapping[str, Callable[[], type[Message]]] = {
    "models.config": model_server_config,
    "batching.config": batching_parameters,
    "monitoring.config": monitoring_config,
}


def parsed(name: str, text: str | None = None) -> Any:
    return text_format.Parse((HERE / name).read_text() if text is None else text, PROTOS[name]()())
