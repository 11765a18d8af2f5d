"""A stored video is played as MP4 without another encode, in parts and from a bounded folder; its frames are refused (PS3.18 8.7.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import httpx2
import pytest

from consilium_core.errors import Exhausted
from consilium_core.roles import Role
from consilium_dicom.scan import scan
from consilium_imaging.settings import ImagingSettings
from consilium_imaging.videos import frame_rate
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.instances import multipart, uids_of
from consilium_testkit.platforms import bearer

from .videos import FRAMES, H264, HEVC, MPEG2, Container, bars, encode, video_instance


async def store(client: httpx2.AsyncClient, file: bytes) -> str:
    body, media = multipart([file])
    sent = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    assert sent.status_code in (200, 202), sent.text
    assert "00081199" in sent.json(), sent.text
    return "/dicomweb/studies/{}/series/{}/instances/{}".format(*uids_of(file))


@pytest.mark.parametrize(
    ("container", "codec", "syntax", "b_frames"),
    [
        ("mp4", "libx264", H264, 0),
        ("mpegts", "libx264", H264, 2),
        ("h264", "libx264", H264, 0),
        ("h264", "libx264", H264, 2),
        ("mpegts", "libx265", HEVC, 0),
    ],
)
async def test_every_picture_is_played_in_order(
    embedded: httpx2.AsyncClient, tmp_path: Path, container: Container, codec: str, syntax: str, b_frames: int
) -> None:
    stream = encode(tmp_path / "clip", container, codec, b_frames=b_frames)
    path = await store(embedded, video_instance(stream, syntax, fragments=3))
    played = await embedded.get(f"{path}/rendered", headers={"Accept": "video/mp4"})
    assert (played.status_code, played.headers["content-type"]) == (200, "video/mp4")
    shown = bars(played.content, tmp_path / "played.mp4")
    assert len(shown) == FRAMES
    assert all(abs(place - 5 * number) <= 12 for number, (_, place) in enumerate(shown))
    times = [at - shown[0][0] for at, _ in shown]
    assert all(abs(at - number / 30) < 0.005 for number, at in enumerate(times))
    assert (
        played.content[4:8],
        container == "mp4" or played.content.index(b"moov") < played.content.index(b"mdat"),
    ) == (
        b"ftyp",
        True,
    )


async def test_players_seek_by_range_and_keep_what_they_have(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    for container in ("mp4", "mpegts"):
        stream = encode(tmp_path / f"clip.{container}", container, "libx264")  # type: ignore[arg-type]
        path = await store(client, video_instance(stream, H264, fragments=2))
        whole = await client.get(f"{path}/rendered")
        assert whole.headers["accept-ranges"] == "bytes"
        part = await client.get(f"{path}/rendered", headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, whole.content[100:200])
        assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
        kept = await client.get(f"{path}/rendered", headers={"If-None-Match": whole.headers["etag"]})
        assert kept.status_code == 304
        bulk = await client.get(f"{path}/bulkdata/7FE00010", headers={"Accept": "video/mp4"})
        assert bulk.content.rstrip(b"\0") == stream.rstrip(b"\0")


async def test_frames_of_a_video_are_refused_and_told_where_it_is(embedded: httpx2.AsyncClient, tmp_path: Path) -> None:
    path = await store(embedded, video_instance(encode(tmp_path / "clip", "mpegts", "libx264"), H264))
    for suffix in ("/frames/1", "/frames/1/rendered", "/frames/1/thumbnail"):
        refused = await embedded.get(path + suffix)
        assert (refused.status_code, refused.json()["code"]) == (406, "video-has-no-frames")
    wrong = await embedded.get(f"{path}/rendered", headers={"Accept": "image/gif"})
    assert (wrong.status_code, wrong.json()["offered"]) == (406, ["video/mp4"])
    small = await embedded.get(f"{path}/thumbnail", headers={"Accept": "image/jpeg"})
    assert small.content.startswith(b"\xff\xd8")
    stored = await embedded.get(path, headers={"Accept": "application/dicom"})
    assert stored.headers["content-type"].endswith(H264)  # a video is never decoded for a client


async def test_mpeg_2_goes_as_it_is_stored(embedded: httpx2.AsyncClient, tmp_path: Path) -> None:
    stream = encode(tmp_path / "clip", "mpegts", "mpeg2video")
    path = await store(embedded, video_instance(stream, MPEG2, LossyImageCompressionMethod="ISO_13818_2"))
    played = await embedded.get(f"{path}/rendered", headers={"Accept": "video/mpeg"})
    assert (played.headers["content-type"], played.content.rstrip(b"\0")) == ("video/mpeg", stream.rstrip(b"\0"))


async def test_many_viewers_at_once_make_it_once_and_the_folder_stays_small(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import consilium_imaging.videos as rooms

    made: list[Path] = []
    remux: Callable[..., None] = rooms.remux

    def counted(source: Path, target: Path, rate: object) -> None:
        made.append(source)
        remux(source, target, rate)

    monkeypatch.setattr(rooms, "remux", counted)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    streams = [encode(tmp_path / f"clip{n}", "mpegts", "libx264", b_frames=n) for n in range(3)]
    room = 2 * max(map(len, streams)) + 1000
    settings = ImagingSettings(scratch_dir=scratch, video_cache_bytes=room)
    async with (
        archive_door(platform, imaging=settings) as door,
        door_client(door, bearer(platform, Role.ADMIN)) as client,
    ):
        paths = [await store(client, video_instance(stream, H264)) for stream in streams]
        answers = await asyncio.gather(*(client.get(f"{paths[0]}/rendered") for _ in range(5)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == len(made) == 1
        for path in (*paths, *paths):
            assert (await client.get(f"{path}/rendered")).status_code == 200
            assert sum(file.stat().st_size for file in scratch.rglob("*") if file.is_file()) <= room
        assert len(made) > 3
    assert list(scratch.iterdir()) == []


async def test_a_video_larger_than_the_room_is_told_so(platform: Platform, tmp_path: Path) -> None:
    stream = encode(tmp_path / "clip", "mpegts", "libx264")
    settings = ImagingSettings(video_cache_bytes=len(stream))
    async with (
        archive_door(platform, imaging=settings) as door,
        door_client(door, bearer(platform, Role.ADMIN)) as client,
    ):
        path = await store(client, video_instance(stream, H264))
        refused = await client.get(f"{path}/rendered")
        assert (refused.status_code, refused.json()["code"]) == (406, "video-unplayable")
        whole = await client.get(f"{path}/bulkdata/7FE00010", headers={"Accept": "video/mp4"})
        assert whole.content.rstrip(b"\0") == stream.rstrip(b"\0")


async def test_too_many_at_once_are_told_to_come_back(tmp_path: Path) -> None:
    from consilium_imaging.videos import Videos

    videos = Videos(None, None, tmp_path, 100)  # type: ignore[arg-type]
    with videos._room(60), pytest.raises(Exhausted), videos._room(60):
        pass
    with videos._room(60):
        pass


@pytest.mark.parametrize(
    ("stated", "rate"),
    [
        ({"FrameTime": "40", "CineRate": "30"}, Fraction(25)),
        ({"FrameTime": None, "CineRate": "50"}, Fraction(50)),
        ({"FrameTime": None, "CineRate": None, "RecommendedDisplayFrameRate": "24"}, Fraction(24)),
        ({"FrameTime": "0", "CineRate": None}, Fraction(30)),
        ({"FrameTime": None, "CineRate": None}, Fraction(30)),
    ],
)
def test_an_elementary_stream_is_timed_as_the_object_says(stated: dict[str, str | None], rate: Fraction) -> None:
    assert frame_rate(scan(video_instance(b"\0\0\0\1", H264, **stated), to_pixels=True)) == rate


async def test_what_is_no_playable_video_is_refused(embedded: httpx2.AsyncClient, tmp_path: Path) -> None:
    stream = encode(tmp_path / "clip", "mpegts", "mpeg2video")
    file = video_instance(stream, H264)
    body, media = multipart([file])
    sent = await embedded.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    if "00081199" not in sent.json():
        return  # ingest has seen that the stream is not what its transfer syntax says
    path = "/dicomweb/studies/{}/series/{}/instances/{}".format(*uids_of(file))
    refused = await embedded.get(f"{path}/rendered")
    assert (refused.status_code, refused.json()["code"]) == (406, "video-unplayable")
