"""Ways to spoil a file: bytes, lengths, tags, nesting, truncation, splices. Pure functions of data and a generator."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

Mutation = Callable[[bytearray, random.Random], bytearray]

LENGTHS = (0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
HEADER_BYTES = 2500  # where most structure is


def _place(data: bytearray, rng: random.Random) -> int:
    limit = min(len(data), HEADER_BYTES) if rng.random() < 0.8 else len(data)
    return rng.randrange(max(1, limit))


def flip_bits(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)
    return data


def random_bytes(data: bytearray, rng: random.Random) -> bytearray:
    place, count = _place(data, rng), rng.choice((1, 2, 4, 16, 200))
    data[place : place + count] = rng.randbytes(count)
    return data


def change_length(data: bytearray, rng: random.Random) -> bytearray:
    """Put an interesting number where an element's length is, or anywhere."""
    places = [place for place in range(132, min(len(data) - 8, HEADER_BYTES)) if data[place : place + 2].isalpha()]
    place = rng.choice(places) + 2 if places and rng.random() < 0.7 else _place(data, rng)
    form = rng.choice(("<H", "<I", ">H", ">I"))
    value = rng.choice(LENGTHS) & (0xFFFF if form[1] == "H" else 0xFFFFFFFF)
    packed = struct.pack(form, value)
    data[place : place + len(packed)] = packed
    return data


def change_tag(data: bytearray, rng: random.Random) -> bytearray:
    tags = (0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x7FE00010, 0xFFFEE000, 0xFFFEE0DD, 0x00280008, 0x00020010)
    tag = rng.choice(tags)
    place = _place(data, rng)
    data[place : place + 4] = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    return data


def change_number(data: bytearray, rng: random.Random) -> bytearray:
    """Another matrix, bit depth or number of frames where such an element stands."""
    tag = rng.choice(
        (b"\x28\x00\x10\x00", b"\x28\x00\x11\x00", b"\x28\x00\x00\x01", b"\x28\x00\x01\x01", b"\x28\x00\x08\x00")
    )
    place = data.find(tag)
    if place >= 0:
        data[place + 8 : place + 10] = struct.pack(
            "<H", rng.choice((0, 1, 3, 8, 12, 16, 32, 64, 511, 513, 60000, 65535))
        )
    return data


def nest(data: bytearray, rng: random.Random) -> bytearray:
    """Open sequences that are never closed, or one that holds a copy of the header."""
    place = rng.randrange(132, max(133, min(len(data), 1000)))
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    data[place:place] = opening * rng.choice((1, 3, 20, 500))
    return data


def truncate(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))] if data else data


def grow(data: bytearray, rng: random.Random) -> bytearray:
    return data + rng.randbytes(rng.choice((1, 2, 8, 1000)))


def move_block(data: bytearray, rng: random.Random) -> bytearray:
    source, target, count = _place(data, rng), _place(data, rng), rng.choice((4, 8, 16, 100, 1000))
    block = data[source : source + count]
    if rng.random() < 0.5:
        data[target:target] = block
    else:
        data[target : target + len(block)] = block
    return data


def delete_block(data: bytearray, rng: random.Random) -> bytearray:
    place = _place(data, rng)
    del data[place : place + rng.choice((1, 2, 4, 8, 50, 500))]
    return data


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, random_bytes, change_length, change_tag, change_number, nest, truncate, grow, move_block, delete_block,
)  # fmt: skip


def mutate(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """One to four mutations; now and then the tail of another input."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if spoilt:
            spoilt = rng.choice(MUTATIONS)(spoilt, rng)
    if others and rng.random() < 0.05:
        other = rng.choice(others)
        spoilt = spoilt[: rng.randrange(len(spoilt) + 1)] + other[rng.randrange(len(other) + 1) :]
    return bytes(spoilt)
