"""JSON documents as TensorFlow Serving reads them: RapidJSON 1.1.0, its errors and their offsets included.

A document keeps what Python's `json` loses: every member of an object in its order, integers apart from
doubles, NaN and Infinity, and bytes that are not UTF-8. Such a byte 0xNN stands in a string as the surrogate
U+DCNN, as in Python's `surrogateescape`; `to_bytes` gives it back.
"""

from __future__ import annotations

import re
from itertools import chain, islice
from typing import Any

import rapidjson

from serving.local.pretty_json import ECHO_BYTES, PrettyWriter
from serving.local.status import StatusError, invalid_argument

_PARSE_ERROR = re.compile(r"Parse error at offset (\d+): (.*)", re.DOTALL)
_ROOT_NOT_SINGULAR = "The document root must not be followed by other values."
_INVALID_SURROGATE = "The surrogate pair in string is invalid."
# Escapes from left to right: a surrogate pair, any single code unit, or an escaped character.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_LOW_SURROGATE = re.compile(rb"\\u[dD][c-fC-F]")
# RapidJSON wants UTF-8 from Python, and its newer version no low surrogate without its partner. In the rare
# document that has either, characters that it does not have stand for the bytes 0x80 … 0xFF and for the 1024
# low surrogates: such for private use first. All take three bytes.
_SPARE = re.compile("[\ue000-\uffff\u0800-\ud7ff]")
_UNIT = re.compile(rb"\\u([0-9a-fA-F]{4})")


class Members(list[tuple[str, Any]]):
    """A JSON object: its members in their order, those of the same name included."""

    __slots__ = ()

    def find(self, name: str) -> Any:
        """Returns the value of the first member of that name; `MISSING` where there is none."""
        return next((value for key, value in self if key == name), MISSING)


MISSING = object()


class _Decoder(rapidjson.Decoder):
    def start_object(self) -> Members:
        return Members()


class _StandIns:
    """What stands for what in one document.

    Args:
        text: The document.

    Raises:
        StatusError: It has nearly all the characters there are.
    """

    def __init__(self, text: bytes) -> None:
        taken = {ord(found.group()) for found in _SPARE.finditer(text.decode("utf-8", "surrogateescape"))}
        taken |= {int(found[1], 16) for found in _UNIT.finditer(text)}
        spare = (code for code in chain(range(0xE000, 0x10000), range(0x800, 0xD800)) if code not in taken)
        codes = list(islice(spare, 0x80 + 0x400))
        if len(codes) < 0x80 + 0x400:
            raise invalid_argument("JSON Parse error: The document is not UTF-8 and has too many characters.")
        units = codes[0x80:]
        self.of_byte = {0xDC80 + place: code for place, code in enumerate(codes[:0x80])}
        self.to_byte = {code: chr(byte) for byte, code in self.of_byte.items()}
        self.of_surrogate = {0xDC00 + place: code for place, code in enumerate(units)}
        self.to_text = dict(self.to_byte)
        for surrogate, code in self.of_surrogate.items():
            encoded = chr(surrogate).encode("utf-8", "surrogatepass")
            self.to_text[code] = encoded.decode("utf-8", "surrogateescape")

    def escaped(self, escape: re.Match[bytes]) -> bytes:
        """Replaces a low surrogate without its partner, which RapidJSON 1.1.0 takes."""
        text = escape.group()
        if not _LOW_SURROGATE.match(text):
            return text
        return b"\\u%04x" % self.of_surrogate[int(text[2:], 16)]


class _StandInDecoder(_Decoder):
    stand_ins: _StandIns

    def string(self, value: str) -> str:
        return value.translate(self.stand_ins.to_text)

    def end_object(self, members: Members) -> Members:
        return Members((name.translate(self.stand_ins.to_text), value) for name, value in members)


_WORDS = {None: b"null", True: b"true", False: b"false"}
# Native numbers are RapidJSON's own: integers up to 64 bits, larger ones as doubles.
_NUMBERS = rapidjson.NM_NATIVE | rapidjson.NM_NAN
_decode = _Decoder(number_mode=_NUMBERS)


def parse(body: bytes) -> Members:
    """Reads a request's body, whose root has to be an object; what follows the root is ignored.

    Returns:
        The root. Values are Members, list, str, int, float, bool and None.

    Raises:
        StatusError: INVALID_ARGUMENT with TensorFlow Serving's text.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    start = 0
    for mark in b"\xef\xbb\xbf":  # RapidJSON skips each byte of the mark on its own
        start += body[start : start + 1] == bytes([mark])
    root = _read(body[start:], start)
    if not isinstance(root, Members):
        raise invalid_argument(f"JSON Value: {echo(root)} Is not object")
    return root


def to_bytes(text: str) -> bytes:
    """Returns the bytes of a string of a document."""
    return text.encode("utf-8", "surrogateescape")


def _read(text: bytes, start: int) -> Any:
    try:
        return _decode(text)
    except UnicodeDecodeError:
        return _read_stand_ins(text, start)
    except RecursionError:
        raise _too_deep() from None
    except rapidjson.JSONDecodeError as error:
        offset, reason = _place(error)
    if reason == _ROOT_NOT_SINGULAR:
        return _read(text[:offset], start)
    if reason == _INVALID_SURROGATE:
        return _read_stand_ins(text, start)
    raise _parse_error(text, offset, reason, start)


def _read_stand_ins(text: bytes, start: int) -> Any:
    """Reads a document that is not UTF-8, or has surrogates without their partners."""
    stand_ins = _StandIns(text)
    decode = _StandInDecoder(number_mode=_NUMBERS)
    decode.stand_ins = stand_ins
    whole = _ESCAPE.sub(stand_ins.escaped, text)  # of the same length
    replaced = whole.decode("utf-8", "surrogateescape").translate(stand_ins.of_byte).encode()
    try:
        return decode(replaced)
    except RecursionError:
        raise _too_deep() from None
    except rapidjson.JSONDecodeError as error:
        place, reason = _place(error)
    before = replaced[:place].decode("utf-8", "ignore").translate(stand_ins.to_byte)
    offset = len(to_bytes(before))
    if reason == _ROOT_NOT_SINGULAR:
        return _read(text[:offset], start)
    raise _parse_error(text, offset, reason, start)


def _place(error: rapidjson.JSONDecodeError) -> tuple[int, str]:
    found = _PARSE_ERROR.match(str(error))
    assert found, error
    return int(found[1]), found[2]


def _parse_error(text: bytes, offset: int, reason: str, start: int) -> StatusError:
    """Puts the error as RapidJSON 1.1.0's iterative parser does; the module's is newer and recursive."""
    at = text[offset : offset + 1]
    if reason == "Invalid value." and at in (b",", b":", b"]", b"}") and not text[:offset].strip(b" \t\r\n"):
        reason = "The document is empty."
    elif reason == "Invalid encoding in string." and at < b" ":
        reason = "Invalid escape character in string."
    return invalid_argument(f"JSON Parse error: {reason} at offset: {start + offset}")


def _too_deep() -> StatusError:
    return invalid_argument("JSON Parse error: The document is nested too deeply.")


def type_name(value: Any) -> str:
    """Returns RapidJSON's name of the value's type."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, Members):
        return "Object"
    if isinstance(value, str):
        return "String"
    return "Array" if isinstance(value, list) else "Number"


def echo(value: Any) -> str:
    """Returns the value as error texts show it: indented, lists on one line, cut after 256 bytes."""
    writer = PrettyWriter(single_line_arrays=True)
    _write(writer, value)
    return writer.text().decode("utf-8", "surrogateescape")


def _write(writer: PrettyWriter, value: Any) -> bool:
    """Writes one value; False as soon as the limit is reached or a number cannot be written."""
    if writer.size >= ECHO_BYTES:
        return False
    if isinstance(value, Members):
        writer.start_object()
        for name, member in value:
            if writer.size >= ECHO_BYTES:
                return False
            writer.string(to_bytes(name))
            if not _write(writer, member):
                return False
        if writer.size >= ECHO_BYTES:
            return False
        writer.end_object()
    elif isinstance(value, list):
        writer.start_array()
        if not all(_write(writer, item) for item in value) or writer.size >= ECHO_BYTES:
            return False
        writer.end_array()
    elif isinstance(value, str):
        writer.string(to_bytes(value))
    elif isinstance(value, float):
        return writer.double(value)
    else:
        writer.raw(
            {None: b"null", True: b"true", False: b"false"}[value] if _is_word(value) else b"%d" % value
        )
    return True


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)
