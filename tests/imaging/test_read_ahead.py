"""A large study is read as the client takes it: a few ranges ahead, never all planned at once."""

from __future__ import annotations

from collections.abc import Iterator

from consilium_imaging.multipart import Piece, Read, body_of, length_of

SIZE, PARTS, AHEAD = 1000, 50, 3


async def test_only_a_few_reads_exist_before_the_client_has_taken_what_came_before() -> None:
    made = 0

    def reads() -> Iterator[Read]:
        nonlocal made
        for _ in range(SIZE):
            made += 1

            async def read() -> bytes:
                return b"x"

            yield read

    pieces = [Piece("application/dicom", f"/{number}", SIZE, reads()) for number in range(PARTS)]
    length, taken = length_of(pieces, "b"), 0
    assert made == 0
    async for chunk in body_of(pieces, "b", AHEAD):
        taken += len(chunk)
        assert made <= taken + AHEAD
    assert (made, taken) == (SIZE * PARTS, length)
