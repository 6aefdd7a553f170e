"""Streams are independent and UIDs are valid."""

from __future__ import annotations

import re

import numpy as np

from data_pipeline.phantoms.randomness import Stream, stable_uid, stream


def test_the_same_stream_gives_the_same_numbers() -> None:
    one, other = (stream(7, 3, Stream.TREES).random(5) for _ in range(2))
    assert np.array_equal(one, other)


def test_patients_seeds_and_purposes_have_streams_of_their_own() -> None:
    draws = {
        tuple(stream(*key).random(3)) for key in ((7, 3, Stream.TREES), (7, 4, Stream.TREES), (8, 3, Stream.TREES))
    }
    draws.add(tuple(stream(7, 3, Stream.NOISE).random(3)))
    assert len(draws) == 4


def test_uids_are_valid_and_depend_on_every_part() -> None:
    uid = stable_uid("a", 1, "study")
    assert re.fullmatch(r"2\.25\.[1-9][0-9]*", uid)
    assert len(uid) <= 64
    assert len({uid, stable_uid("a", 2, "study"), stable_uid("a1", "study"), stable_uid("a", 1, "series")}) == 4
