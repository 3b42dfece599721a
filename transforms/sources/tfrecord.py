"""TFRecord files of tf.Examples, plain or gzip, read without TensorFlow; every checksum is checked."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import google_crc32c

from transforms.errors import ErrorClass, ImageError
from transforms.sources.columns import Columns
from transforms.sources.container import DEFAULT_CONTAINER_LIMITS, ContainerLimits, ContainerStream, MemberList
from transforms.sources.example import Feature, parse_example
from transforms.sources.manifest import metadata_of
from transforms.sources.reference import ImageReference, Member

IMAGE_FEATURE = "image/encoded"
LABEL_FEATURES = ("image/class/text", "image/class/label", "labels", "label")
NAME_FEATURES = ("image/filename", "filename")
HEAD_BYTES, CRC_BYTES = 12, 4
MAX_EXTRA_BYTES = 1 << 20
"""What a record may hold beside its image."""
_MAX_ATTRIBUTE = 4096
_STANDARD = "image/"
"""Features below it describe the picture and are no attributes."""


def list_tfrecord(
    uri: str,
    columns: Columns | None = None,
    max_bytes: int = 64 * 2**20,
    limits: ContainerLimits = DEFAULT_CONTAINER_LIMITS,
) -> Iterator[ImageReference]:
    """Lists the examples of a TFRecord file; one that cannot be understood is listed with its problem."""
    columns = columns or Columns()
    with ContainerStream(uri, limits) as stream:
        members = MemberList(uri, "tfrecord", stream.sequential, columns.image or IMAGE_FEATURE)
        number = 0
        try:
            while (size := read_length(stream)) is not None:
                if number >= limits.max_members:
                    raise ImageError(ErrorClass.TOO_LARGE_BYTES, f"more than {limits.max_members:,} records")
                offset = stream.position - HEAD_BYTES
                name, problem = "", ""
                row: dict[str, Any] = {}
                if size > max_bytes + MAX_EXTRA_BYTES:
                    stream.skip(size + CRC_BYTES)
                else:
                    data = stream.read(size + CRC_BYTES)
                    if len(data) < size + CRC_BYTES:
                        raise ImageError(ErrorClass.TRUNCATED, f"record {number} is cut", "EOFError")
                    name, row, problem = _describe(data, columns)
                yield _reference(members, number, name, offset, size, row, problem, columns)
                number += 1
        except ImageError as error:
            yield members.rest(error)


def read_length(stream: ContainerStream) -> int | None:
    """Reads the head of a record; None at the end of the file.

    Raises:
      ImageError: the head is cut, or its checksum is wrong, so that nothing behind it can be found.
    """
    head = stream.read(HEAD_BYTES)
    if not head:
        return None
    if not is_record_head(head):
        raise ImageError(ErrorClass.CORRUPT, f"the record's length at byte {stream.position - HEAD_BYTES:,} is wrong")
    return int(struct.unpack("<Q", head[:8])[0])


def is_record_head(head: bytes) -> bool:
    """Returns whether 12 bytes are a length and its checksum."""
    return len(head) >= HEAD_BYTES and _checksum(head[:8]) == struct.unpack("<I", head[8:HEAD_BYTES])[0]


def read_record(stream: ContainerStream, member: Member, max_bytes: int) -> bytes:
    """Reads the image of one record.

    Raises:
      ImageError: the record is too large, cut, broken or has no image.
    """
    if member.length > max_bytes + MAX_EXTRA_BYTES:
        raise ImageError(ErrorClass.TOO_LARGE_BYTES, f"a record of {member.length:,} bytes")
    stream.seek(member.offset + HEAD_BYTES)
    data = stream.read(member.length + CRC_BYTES)
    if len(data) < member.length + CRC_BYTES:
        raise ImageError(ErrorClass.TRUNCATED, "the record is cut", "EOFError")
    features = _parse(data)
    values = features.get(member.column, ())
    if len(values) != 1 or not isinstance(values[0], bytes):
        raise ImageError(ErrorClass.BAD_ROW, f"the example has no single image in the feature {member.column!r}")
    return values[0]


def _parse(data: bytes) -> dict[str, Feature]:
    content, crc = data[:-CRC_BYTES], struct.unpack("<I", data[-CRC_BYTES:])[0]
    if _checksum(content) != crc:
        raise ImageError(ErrorClass.CORRUPT, "the record's checksum is wrong")
    try:
        return parse_example(content)
    except ValueError as error:
        raise ImageError(ErrorClass.BAD_ROW, f"the record is no tf.Example: {error}", type(error).__name__) from error


def _checksum(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord masks it."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _describe(data: bytes, columns: Columns) -> tuple[str, dict[str, Any], str]:
    """Returns name, row and problem of a record."""
    try:
        features = _parse(data)
        image = features.get(columns.image or IMAGE_FEATURE, ())
        if len(image) != 1:
            names = ", ".join(sorted(features))[:200]
            problem = f"no feature {columns.image or IMAGE_FEATURE!r}; there are: {names}; --image-column names another"
            return "", {}, f"{ErrorClass.BAD_ROW.value}: {problem}"
        return _name(features, columns), _row(features, columns), ""
    except ImageError as error:
        return "", {}, f"{error.error_class.value}: {error}"
    except ValueError as error:
        return "", {}, f"{ErrorClass.BAD_ROW.value}: {error}"


def _name(features: Mapping[str, Feature], columns: Columns) -> str:
    names = (columns.uri,) if columns.uri else NAME_FEATURES
    value = next((features[name][0] for name in names if features.get(name)), b"")
    return _text(value).rpartition("/")[2]


def _row(features: Mapping[str, Feature], columns: Columns) -> dict[str, Any]:
    label_names = (columns.label,) if columns.label else LABEL_FEATURES
    reserved = {columns.image or IMAGE_FEATURE, *label_names, *NAME_FEATURES, columns.uri}
    row: dict[str, Any] = {
        name: _text(values[0])
        for name, values in features.items()
        if name not in reserved and not name.startswith(_STANDARD) and len(values) == 1 and _is_short(values[0])
    }
    for name in (columns.split, columns.group):
        if features.get(name):
            row[name] = _text(features[name][0])
    labels = next((features[name] for name in label_names if features.get(name)), [])
    row[columns.label or "labels"] = [_text(value) for value in labels]
    return row


def _is_short(value: bytes | float) -> bool:
    return not isinstance(value, bytes) or len(value) <= _MAX_ATTRIBUTE


def _text(value: bytes | float) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return str(int(value)) if float(value).is_integer() else str(value)


def _reference(
    members: MemberList,
    number: int,
    name: str,
    offset: int,
    size: int,
    row: dict[str, Any],
    problem: str,
    columns: Columns,
) -> ImageReference:
    try:
        fields = metadata_of(row, columns)
    except ValueError as error:
        fields, problem = {}, f"{ErrorClass.BAD_ROW.value}: {error}"
    reference = members.reference(f"{number}/{name}" if name not in ("", "..") else str(number), offset, size, **fields)
    return reference._replace(problem=problem) if problem else reference
