"""Pictures of instances that are alike: what is remembered of one is not shown of another."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import httpx2
import numpy as np
import pytest

from consilium_core.ids import new_uid
from consilium_testkit.instances import ct_instance, multipart, uids_of

SIDE = 16


def palette_instance(first: Sequence[int], study: str, series: str) -> bytes:
    """Return an image of eight bit indexes 0..255 whose palette begins at ``first`` (red, green, blue)."""
    table = np.arange(256, dtype="<u2") * 257
    palette = {}
    for colour, begin in zip(("Red", "Green", "Blue"), first, strict=True):
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [256, begin, 16]
        palette[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    return ct_instance(
        side=SIDE, StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=new_uid().ljust(44, "1")[:44],
        PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0,
        PixelData=np.arange(SIDE * SIDE, dtype=np.uint8).tobytes(), **palette,
    )  # fmt: skip


async def stored(client: httpx2.AsyncClient, files: list[bytes]) -> None:
    body, media = multipart(files)
    answer = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    assert answer.status_code in (200, 202), answer.text


async def picture(client: httpx2.AsyncClient, file: bytes, how: str = "rendered") -> bytes:
    study, series, sop = uids_of(file)
    path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}/{how}"
    answer = await client.get(path, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    return answer.content


async def test_palettes_of_one_layout_are_each_their_own(embedded: httpx2.AsyncClient) -> None:
    study, series = new_uid(), new_uid()
    files = [palette_instance(first, study, series) for first in ((0, 0, 0), (100, 0, 0), (0, 0, 200))]
    await stored(embedded, files)
    ramp = np.arange(SIDE * SIDE)
    for file, first in zip(files, ((0, 0, 0), (100, 0, 0), (0, 0, 200)), strict=True):
        drawn = cv2.imdecode(np.frombuffer(await picture(embedded, file), np.uint8), cv2.IMREAD_COLOR_RGB)
        for channel, begin in enumerate(first):
            expected = np.clip(ramp - begin, 0, 255).reshape(SIDE, SIDE)
            assert np.abs(drawn[:, :, channel].astype(int) - expected).max() <= 1


async def test_windows_of_one_layout_are_each_their_own(embedded: httpx2.AsyncClient) -> None:
    study, series = new_uid(), new_uid()
    files = [
        ct_instance(
            side=SIDE, StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=new_uid().ljust(44, "1")[:44],
            WindowCenter=center, WindowWidth="400",
        )
        for center in ("-900", "-800", "-900")
    ]  # fmt: skip
    await stored(embedded, files)
    first, second, third = [await picture(embedded, file) for file in files]
    assert first == third
    assert first != second


@pytest.mark.parametrize("how", ["rendered", "frames/1/rendered"])
async def test_one_visit_or_two_give_the_same_picture(embedded: httpx2.AsyncClient, how: str) -> None:
    file = ct_instance(side=64)
    other = ct_instance(side=64, StudyInstanceUID=new_uid(), SOPInstanceUID=new_uid())
    await stored(embedded, [file, other])
    assert await picture(embedded, file, how) == await picture(embedded, other, "frames/1/rendered")


async def test_a_frame_read_with_its_place_is_the_one_read_after_it(embedded: httpx2.AsyncClient) -> None:
    file = ct_instance(side=64)
    await stored(embedded, [file])
    study, series, sop = uids_of(file)
    path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}/frames/1"
    once = await embedded.get(path, headers={"Accept": "application/octet-stream"})
    twice = await embedded.get(path, headers={"Accept": "application/octet-stream", "If-None-Match": '"other"'})
    parts = await embedded.get(path, headers={"Accept": 'multipart/related; type="application/octet-stream"'})
    assert once.status_code == twice.status_code == parts.status_code == 200
    assert len(once.content) == 64 * 64 * 2
    assert once.content == twice.content
    assert once.content in parts.content
    assert int(parts.headers["content-length"]) == len(parts.content)
    assert parts.content.endswith(b"--\r\n")
