"""The splitter finds the same parts however the body is cut into chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from consilium_ingest.errors import BodyInvalid
from consilium_ingest.multipart import split
from consilium_ingest.spool import Budget, Part, Spool
from consilium_testkit.instances import multipart

BOUNDARY = b"consilium-test"


async def chunks(body: bytes, cuts: list[int]) -> AsyncGenerator[tuple[bytes | bytearray, int]]:
    """Yield the pieces in one buffer that is used again, as a server's are."""
    buffer = bytearray(len(body))
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    for start, stop in pairwise(places):
        buffer[: stop - start] = body[start:stop]
        yield buffer, stop - start


def content(part: Part) -> bytes:
    return part.path.read_bytes() if part.path is not None else bytes(part.memory)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([b"\r\n--consilium-tes", b"--consilium-test", b"\r\n" * 9])),
             min_size=1, max_size=4),
    st.lists(st.integers(0, 4000), max_size=12),
    st.sampled_from([0, 64, 1 << 20]),
)  # fmt: skip
async def test_parts_survive_any_cut_and_any_spooling(
    tmp_path: Path, files: list[bytes], cuts: list[int], above: int
) -> None:
    spool = Spool(tmp_path, Budget(1 << 20), above, 1 << 20)
    body, _ = multipart(files)
    found = []
    async for part in split(chunks(body, cuts), BOUNDARY, spool):
        found.append(content(part))
        part.discard()
    assert found == files
    assert spool.budget.used_bytes == 0
    assert list(tmp_path.iterdir()) == []


async def test_a_part_without_its_end_is_never_given_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Budget(1 << 20), 16, 1 << 20)
    body, _ = multipart([b"a" * 100, b"b" * 100])
    found: list[bytes] = []

    async def take() -> None:
        async for part in split(chunks(body[:-60], [10, 50, 150]), BOUNDARY, spool):
            found.append(content(part))
            part.discard()

    with pytest.raises(BodyInvalid):
        await take()
    assert found == [b"a" * 100]
    assert spool.budget.used_bytes == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("behind", [b"", b"\r\nan epilogue"])
async def test_who_goes_away_behind_the_closing_boundary_has_sent_everything(tmp_path: Path, behind: bytes) -> None:
    spool = Spool(tmp_path, Budget(1 << 20), 1 << 20, 1 << 20)
    body, _ = multipart([b"a" * 100])

    async def gone(whole: bytes) -> AsyncGenerator[tuple[bytes | bytearray, int]]:
        yield whole, len(whole)
        raise ClientDisconnect

    async def taken(whole: bytes) -> list[bytes]:
        found: list[bytes] = []
        async for part in split(gone(whole), BOUNDARY, spool):
            assert part.alone
            found.append(content(part))
            part.discard()
        return found

    assert await taken(body + behind) == [b"a" * 100]
    with pytest.raises(BodyInvalid, match="went away"):
        await taken(b"--consilium-test\r\n\r\nhalf of it")
    with pytest.raises(BodyInvalid, match="no part"):
        await taken(b"--consilium-test--")


@pytest.mark.parametrize(("files", "alone"), [(1, [True]), (2, [False, False])])
async def test_only_a_part_that_came_alone_says_so(tmp_path: Path, files: int, alone: list[bool]) -> None:
    spool = Spool(tmp_path, Budget(1 << 20), 1 << 20, 1 << 20)
    body, _ = multipart([b"a" * 100] * files)
    for cuts in ([], [50], [len(body) - 3]):
        found = []
        async for part in split(chunks(body, cuts), BOUNDARY, spool):
            found.append(part.alone)
            part.discard()
        assert found in (alone, [False] * files)  # its closing boundary may come later than it
        assert found == alone or cuts
