"""tf.Example without TensorFlow: the few fields of its protocol buffer.

Example { Features features = 1 }    Features { map<string, Feature> feature = 1 }
Feature { BytesList = 1 | FloatList = 2 | Int64List = 3 }, each with ``repeated value = 1``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

Feature = list[bytes] | list[float] | list[int]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3


def parse_example(data: bytes) -> dict[str, Feature]:
    """Returns the features of a serialized tf.Example by name.

    Raises:
      ValueError: the bytes are no tf.Example.
    """
    features: dict[str, Feature] = {}
    for number, message in _messages(memoryview(data)):
        if number != 1:
            continue
        for _, entry in _messages(message):
            name, value = "", memoryview(b"")
            for field, content in _messages(entry):
                if field == 1:
                    name = bytes(content).decode()
                elif field == 2:
                    value = content
            features[name] = _feature(value)
    return features


def _feature(data: memoryview) -> Feature:
    values: Feature = []
    for kind, message in _messages(data):
        if kind == _BYTES_LIST:
            values = [bytes(value) for number, value in _messages(message) if number == 1]
        elif kind == _FLOAT_LIST:
            values = [value for chunk in _chunks(message) for value in _floats(chunk)]
        elif kind == _INT64_LIST:
            values = [value for chunk in _chunks(message) for value in _integers(chunk)]
    return values


def _messages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields the length-delimited fields of a message."""
    for number, kind, content in _fields(data):
        if kind == _BYTES:
            yield number, content


def _chunks(data: memoryview) -> Iterator[memoryview]:
    """Yields the raw values of a repeated number, packed or one by one."""
    for number, _, content in _fields(data):
        if number == 1:
            yield content


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind, start = tag & 7, position
        if kind == _BYTES:
            length, start = _varint(data, position)
            position = start + length
        elif kind == _VARINT:
            _, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of wire type {kind}")
        if position > len(data):
            raise ValueError("a field is longer than its message")
        yield tag >> 3, kind, data[start:position]


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & (2**64 - 1), position
    raise ValueError("a number without an end")


def _floats(data: memoryview) -> list[float]:
    if len(data) % 4:
        raise ValueError("floats that are no multiple of four bytes")
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _integers(data: memoryview) -> list[int]:
    values, position = [], 0
    while position < len(data):
        value, position = _varint(data, position)
        values.append(value - 2**64 if value >= 2**63 else value)
    return values
