"""Packed metadata joins into one valid zlib stream without being opened."""

from __future__ import annotations

import json
import zlib

from hypothesis import given
from hypothesis import strategies as st

from consilium_archive.packing import adler_combine, json_array, pack, plain, unpack, zlib_stream


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_joined_pieces_are_a_zlib_stream_of_the_joined_text(texts: list[bytes]) -> None:
    pieces = [pack(text) for text in texts]
    assert zlib.decompress(zlib_stream(pieces)) == b"".join(texts)
    assert plain(pieces) == b"".join(texts)


@given(st.binary(max_size=500), st.binary(max_size=500))
def test_adler_of_joined_strings_follows_from_their_own(first: bytes, second: bytes) -> None:
    assert adler_combine(zlib.adler32(first), zlib.adler32(second), len(second)) == zlib.adler32(first + second)


def test_objects_become_a_json_array() -> None:
    objects = [{"n": n, "text": "王" * n} for n in range(4)]
    for count in (0, 1, 4):
        pieces = [pack(json.dumps(one).encode()) for one in objects[:count]]
        assert json.loads(zlib.decompress(zlib_stream(json_array(pieces)))) == objects[:count]


def test_one_piece_can_be_opened_alone() -> None:
    assert unpack(pack(b"alone").data) == b"alone"
