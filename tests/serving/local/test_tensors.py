from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.local import tensors
from serving.local.status import StatusError

VALUES = {
    "float32": [1.5, -0.0, np.inf],
    "float64": [1.1, np.nan, -2],
    "float16": [1.5, -2, 65504],
    "bfloat16": [1.5, -2, 3e38],
    "int8": [-128, 0, 127],
    "int16": [-(2**15), 0, 2**15 - 1],
    "int32": [-(2**31), 0, 2**31 - 1],
    "int64": [-(2**63), 0, 2**63 - 1],
    "uint8": [0, 1, 255],
    "uint16": [0, 1, 2**16 - 1],
    "uint32": [0, 1, 2**32 - 1],
    "uint64": [0, 1, 2**64 - 1],
    "bool": [True, False, True],
    "complex64": [1 + 2j, -1j, 0],
    "complex128": [1.1 + 2j, -1j, 0],
    "string": [b"", b"\x00\xff", "ä".encode()],
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 1, 3)])
def test_every_type_goes_there_and_back(name: str, shape: tuple[int, ...]) -> None:
    array = np.array(VALUES[name], tf.as_dtype(name).as_numpy_dtype).reshape(shape)
    from_fields = tensors.decode("x", tensors.encode(array), 0)
    from_content = tensors.decode("x", tf.make_tensor_proto(array, name), 0)
    for read in (from_fields, from_content, tf.make_ndarray(tensors.encode(array))):
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def test_outputs_are_where_clients_look_for_them() -> None:
    assert list(tensors.encode(np.array([1.5, 2], np.float32)).float_val) == [1.5, 2]
    assert list(tensors.encode(np.array([b"dog"], object)).string_val) == [b"dog"]


@pytest.mark.parametrize("shape", [(), (0,), (0, 2)])
def test_scalars_and_empty_tensors(shape: tuple[int, ...]) -> None:
    assert tensors.decode("x", tensors.encode(np.ones(shape, np.int32)), 0).shape == shape


@pytest.mark.parametrize(
    ("proto", "values"),
    [
        ("dtype: DT_FLOAT tensor_shape { dim { size: 3 } } float_val: 1 float_val: 2", [1, 2, 2]),
        ("dtype: DT_INT64 tensor_shape { dim { size: 2 } }", [0, 0]),
        ("dtype: DT_STRING tensor_shape { dim { size: 2 } }", [b"", b""]),
        ("dtype: DT_STRING tensor_shape { dim { size: 2 } } string_val: 'a'", [b"a", b"a"]),
        ("dtype: DT_INT32 tensor_shape { dim { size: 1 } } int_val: 1 int_val: 2", [1]),
    ],
)
def test_missing_and_surplus_values_as_tensorflow_takes_them(proto: str, values: list[object]) -> None:
    parsed = text_format.Parse(proto, TensorProto())
    assert tensors.decode("x", parsed, 1000).tolist() == values


@pytest.mark.parametrize(
    "proto",
    [
        "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: 'abc'",
        "dtype: DT_STRING tensor_shape { dim { size: 1 } } tensor_content: 'abc'",
        "dtype: DT_FLOAT tensor_shape { dim { size: -1 } } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { unknown_rank: true } float_val: 1",
        "dtype: DT_UINT8 tensor_shape { dim { size: 1 } } int_val: 256",
        "dtype: DT_COMPLEX64 tensor_shape { dim { size: 1 } } scomplex_val: 1",
        "dtype: DT_HALF tensor_shape { dim { size: 1 } } half_val: 65536",
        "dtype: DT_FLOAT tensor_shape { dim { size: 1000000000000 } } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: 4000000000000000000 } dim { size: 9 } }",
        "dtype: DT_STRING tensor_shape { dim { size: 1000000000000 } }",
        "dtype: DT_FLOAT tensor_shape { dim { size: 0 } dim { size: -3 } }",
        "dtype: DT_INT32 tensor_shape { dim { size: 0 } dim { size: 4000000000000000000 } dim { size: 9 } }",
        "dtype: DT_RESOURCE tensor_shape { dim { size: 1 } }",
        "dtype: DT_VARIANT",
        "",
    ],
)
def test_nonsense_is_refused(proto: str) -> None:
    parsed = text_format.Parse(proto, TensorProto())
    with pytest.raises(StatusError, match="tensor parsing error: x"):
        tensors.decode("x", parsed, 1000)
