"""TFRecord files and protocol buffers, as far as NAS-Bench-101's need them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from brpnas.datasets._files import existing_file
from brpnas.errors import UserError

__all__ = ["fields", "records"]

_LONGEST = 2**20
"""A longer record than this many bytes is a sign of a file of another kind."""


def records(path: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file.

    Each is its length (8 bytes, little-endian), a checksum of that (4), the content, a checksum of
    the content (4). The checksums are not looked at.

    Raises:
        UserError: no such file, not of this form, or cut off; names the record.
    """
    with existing_file(path).open("rb") as file:
        number = 0
        while head := file.read(12):
            number += 1
            length = int.from_bytes(head[:8], "little")
            if length > _LONGEST:
                raise UserError(f"{path}: record {number}: not a TFRecord file")
            content = file.read(length + 4)
            if len(head) < 12 or len(content) < length + 4:
                raise UserError(f"{path}: record {number}: the file ends in the middle of it")
            yield content[:-4]


def fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yield number and value of each field of a protocol buffer.

    Whole numbers come as int, fixed 8-byte ones as float (double), all else as bytes.

    Raises:
        ValueError: not a protocol buffer.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            whole, place = _varint(message, place)
            yield number, whole
            continue
        if kind == 2:
            length, place = _varint(message, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"field {number} has the unknown kind {kind}")
        value = message[place : place + length]
        if len(value) < length:
            raise ValueError(f"field {number} is cut off")
        place += length
        yield number, struct.unpack("<d", value)[0] if kind == 1 else value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("a number is cut off")
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number is too long")
