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


def encoded(array: np.ndarray) -> TensorProto:
    proto = TensorProto()
    tensors.encode(array, proto)
    return proto


def read(proto: TensorProto) -> np.ndarray:
    """Reads a tensor as a request's only one, within a limit of 1,000 bytes."""
    tensors.decoded_bytes({"x": proto}, 1000)
    return tensors.decode("x", proto)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 1, 3)])
def test_every_type_goes_there_and_back(name: str, shape: tuple[int, ...]) -> None:
    array = np.array(VALUES[name], tf.as_dtype(name).as_numpy_dtype).reshape(shape)
    from_fields = tensors.decode("x", encoded(array))
    from_content = tensors.decode("x", tf.make_tensor_proto(array, name))
    for read in (from_fields, from_content, tf.make_ndarray(encoded(array))):
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def test_outputs_are_where_clients_look_for_them() -> None:
    assert list(encoded(np.array([1.5, 2], np.float32)).float_val) == [1.5, 2]
    assert list(encoded(np.array([b"dog"], object)).string_val) == [b"dog"]


@pytest.mark.parametrize("shape", [(), (0,), (0, 2)])
def test_scalars_and_empty_tensors(shape: tuple[int, ...]) -> None:
    assert tensors.decode("x", encoded(np.ones(shape, np.int32))).shape == shape


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
    assert read(parsed).tolist() == values


@pytest.mark.parametrize(
    ("proto", "value"),
    [
        ("dtype: DT_INT8 tensor_shape { dim { size: 1 } } int_val: 300", 44),
        ("dtype: DT_UINT8 tensor_shape { dim { size: 1 } } int_val: -1", 255),
        ("dtype: DT_HALF tensor_shape { dim { size: 1 } } half_val: 80896", 1),
    ],
)
def test_integers_wrap_as_in_tensorflow(proto: str, value: int) -> None:
    assert tensors.decode("x", text_format.Parse(proto, TensorProto())).tolist() == [value]


def test_tensors_of_several_pieces() -> None:
    numbers = np.arange(200_000, dtype=np.int32)
    texts = np.array([b"%d" % number for number in range(70_000)], object)
    for array in (numbers, texts, numbers.astype(np.complex64)):
        np.testing.assert_array_equal(tensors.decode("x", encoded(array)), array)


def test_all_tensors_of_a_request_share_what_may_be_repeated() -> None:
    one = text_format.Parse("dtype: DT_FLOAT tensor_shape { dim { size: 200 } } float_val: 1", TensorProto())
    assert tensors.decoded_bytes({"x": one}, 1000) == 800
    with pytest.raises(StatusError, match="tensor parsing error: y"):
        tensors.decoded_bytes({"x": one, "y": one}, 1000)
    long = TensorProto(dtype=tf.string.as_datatype_enum, string_val=[b"a" * 100])
    long.tensor_shape.dim.add(size=20)
    with pytest.raises(StatusError, match="tensor parsing error: x"):
        tensors.decoded_bytes({"x": long}, 1000)
    assert tensors.decoded_bytes({"x": encoded(np.ones(1000, np.int64))}, 0) == 8000


@pytest.mark.parametrize(
    "proto",
    [
        "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: 'abc'",
        "dtype: DT_STRING tensor_shape { dim { size: 1 } } tensor_content: 'abc'",
        "dtype: DT_FLOAT tensor_shape { dim { size: -1 } } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { unknown_rank: true } float_val: 1",
        "dtype: DT_COMPLEX64 tensor_shape { dim { size: 1 } } scomplex_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: 1000000000000 } } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: 4000000000000000000 } dim { size: 9 } }",
        "dtype: DT_STRING tensor_shape { dim { size: 1000000000000 } }",
        "dtype: DT_FLOAT tensor_shape { dim { size: 0 } dim { size: -3 } }",
        "dtype: DT_INT32 tensor_shape { dim { size: 0 } dim { size: 4000000000000000000 } dim { size: 9 } }",
        "dtype: DT_RESOURCE tensor_shape { dim { size: 1 } }",
        "dtype: DT_VARIANT",
        "dtype: DT_INT32 tensor_shape {" + " dim { size: 1 }" * 300 + "} int_val: 1",
        "",
    ],
)
def test_nonsense_is_refused(proto: str) -> None:
    parsed = text_format.Parse(proto, TensorProto())
    with pytest.raises(StatusError, match="tensor parsing error: x"):
        read(parsed)
