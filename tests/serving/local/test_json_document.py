from __future__ import annotations

import pytest

from serving.local.json_document import MISSING, Members, echo, parse, to_bytes, type_name
from serving.local.status import StatusError


@pytest.mark.parametrize(
    ("body", "error"),  # as RapidJSON 1.1.0 gives them
    [
        (b"", "The document is empty"),
        (b" \n", "The document is empty. at offset: 2"),
        (b"\0", "The document is empty. at offset: 0"),
        (b"\xef\xbb\xbf ", "The document is empty. at offset: 4"),
        (b" ,", "The document is empty. at offset: 1"),
        (b"]", "The document is empty. at offset: 0"),
        (b"True", "Invalid value. at offset: 0"),
        (b"nUll", "Invalid value. at offset: 1"),
        (b"{", "Missing a name for object member. at offset: 1"),
        (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":1 "b"', "Missing a comma or '}' after an object member. at offset: 7"),
        (b'{"a":[1 2]}', "Missing a comma or ']' after an array element. at offset: 8"),
        (b'{"a":}', "Invalid value. at offset: 5"),
        (b'{"a":[,1]}', "Invalid value. at offset: 6"),
        (b'{"a":-}', "Invalid value. at offset: 6"),
        (b'{"a":+1}', "Invalid value. at offset: 5"),
        (b'{"a":01}', "Missing a comma or '}' after an object member. at offset: 6"),
        (b'{"a":1.}', "Miss fraction part in number. at offset: 7"),
        (b'{"a":1e}', "Miss exponent in number. at offset: 7"),
        (b'{"a":1e309}', "Number too big to be stored in double. at offset: 5"),
        (b'{"a":"b', "Missing a closing quotation mark in string. at offset: 7"),
        (b'{"a":"b\0"}', "Missing a closing quotation mark in string. at offset: 7"),
        (b'{"a":"\\x"}', "Invalid escape character in string. at offset: 6"),
        (b'{"a":"b\tc"}', "Invalid escape character in string. at offset: 7"),
        (b'{"a":"\\u12g4"}', "Incorrect hex digit after \\u escape in string. at offset: 6"),
        (b'{"a":"\\ud800"}', "The surrogate pair in string is invalid. at offset: 6"),
        (b'{"a":"\\ud800\\u0041"}', "The surrogate pair in string is invalid. at offset: 6"),
        (b'{"a":"\\udc00\xff\xc3\xa9", x', "Missing a name for object member. at offset: 18"),
        (b"\xef\xbb\xbf{", "Missing a name for object member. at offset: 4"),
    ],
)
def test_what_is_no_json(body: bytes, error: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse(body)
    assert caught.value.http_status == 400
    assert caught.value.message == f"JSON Parse error: {error}"


@pytest.mark.parametrize("body", [b"1", b"[1, 2]", b'"a"', b"null", b"true", b"-1.5"])
def test_root_must_be_an_object(body: bytes) -> None:
    with pytest.raises(StatusError, match="^JSON Value: .* Is not object$") as caught:
        parse(body)
    assert caught.value.message == f"JSON Value: {body.decode()} Is not object"


def test_depth_is_bounded() -> None:
    for body in (b'{"a":' * 100_000, b'{"a":' + b"[" * 100_000):
        with pytest.raises(StatusError, match="nested too deeply"):
            parse(body)


def test_what_follows_the_root_is_ignored() -> None:
    for rest in (b" {", b"x", b"\0", b"\xff\xfe"):
        assert parse(b'{"a": 1}' + rest) == [("a", 1)]


def test_members_keep_their_order_and_their_doubles() -> None:
    document = parse(b'{"b": 1, "a": 2, "b": {"b": 3, "b": 4}}')
    assert document == [("b", 1), ("a", 2), ("b", [("b", 3), ("b", 4)])]
    assert (document.find("b"), document.find("c")) == (1, MISSING)
    assert isinstance(document[2][1], Members)


def test_numbers_keep_their_types() -> None:
    body = b'{"a": [0, -0, -0.0, 1.0, 1e2, 18446744073709551615, 18446744073709551616, -9223372036854775809]}'
    numbers = parse(body).find("a")
    assert [type(number).__name__ for number in numbers] == [
        *("int", "int", "float", "float", "float", "int", "float", "float")
    ]
    assert numbers == [0, 0, 0.0, 1.0, 100.0, 2**64 - 1, 2.0**64, -(2.0**63)]
    assert str(numbers[2]) == "-0.0"
    assert (
        str(parse(b'{"a": [NaN, Inf, Infinity, -Inf, -Infinity]}').find("a")) == "[nan, inf, inf, -inf, -inf]"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"\\u00e9\\ud83d\\ude00", "é😀".encode()),
        (b"a\\u0000b", b"a\0b"),
        (b"\xff\xd8\xc3\xa9", b"\xff\xd8\xc3\xa9"),
        (b"\\udc00", b"\xed\xb0\x80"),
        (b"\\\\udc00\\uDFFF\\ud83d\\ude00", b"\\udc00\xed\xbf\xbf" + "😀".encode()),
        (b"\xed\xa0\x80", b"\xed\xa0\x80"),
        (
            "\ue000\uf400\uf7ff\U0010ff80".encode() + b"\xff",
            "\ue000\uf400\uf7ff\U0010ff80".encode() + b"\xff",
        ),
        (
            "\ue000".encode() + b"\\ue001\\uE080\\udc00\x80",
            "\ue000\ue001\ue080".encode() + b"\xed\xb0\x80\x80",
        ),
    ],
)
def test_strings_keep_their_bytes(text: bytes, value: bytes) -> None:
    [(name, string)] = parse(b'{"' + text + b'": "' + text + b'"}')
    assert to_bytes(name) == to_bytes(string) == value


def test_document_with_all_characters_but_not_utf_8_is_refused() -> None:
    characters = "".join(map(chr, (*range(0x800, 0xD800), *range(0xE000, 0x10000)))).encode()
    assert len(parse(b'{"a": "' + characters[:-6000] + b'\xff"}')) == 1
    with pytest.raises(StatusError, match="The document is not UTF-8 and has too many characters"):
        parse(b'{"a": "' + characters + b'\xff"}')


def test_byte_order_mark_is_skipped_byte_by_byte() -> None:
    for mark in (b"\xef\xbb\xbf", b"\xef", b"\xbb\xbf", b"\xef\xbf"):
        assert parse(mark + b'{"a": 1}') == [("a", 1)]


def test_type_names() -> None:
    values = parse(b'{"a": [null, true, false, {}, [], "", 1, 1.5]}').find("a")
    names = ["Null", "True", "False", "Object", "Array", "String", "Number", "Number"]
    assert [type_name(value) for value in values] == names


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "{}"),
        (b'{"a": [], "b": {}}', '{\n    "a": [],\n    "b": {}\n}'),
        (
            b'{"a": [1, [2.0, {"b": null}], true]}',
            '{\n    "a": [1, [2.0, {\n                "b": null\n            }], true]\n}',
        ),
        (
            b'{"a": "q\\"\\\\\\/\\n\\u0001\\u001f\x7f\\u00e9"}',
            '{\n    "a": "q\\"\\\\/\\n\\u0001\\u001F\x7fé"\n}',
        ),
        (
            b'{"a": [1e300, 1e21, 1e20, 1e-5, 1e-7, 0.1, -0.0, 1.5e-8]}',
            '{\n    "a": [1e300, 1e21, 100000000000000000000.0, 0.00001, 1e-7, 0.1, -0.0, 1.5e-8]\n}',
        ),
        (b'{"a": [1, NaN, 2]}', '{\n    "a": [1, '),
    ],
)
def test_echo(body: bytes, text: str) -> None:
    assert echo(parse(body)) == text


def test_echo_is_cut_before_the_next_value_after_256_bytes() -> None:
    assert echo(parse(b'{"a": [' + b"1, " * 1000 + b"1]}")) == '{\n    "a": [' + "1, " * 81 + "1"
    long = "b" * 1000
    assert echo(parse(f'{{"a": "{long}", "c": 1}}'.encode())) == f'{{\n    "a": "{long}"'
