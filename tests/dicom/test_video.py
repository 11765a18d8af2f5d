"""Video says of itself what libav says of it, and an object whose header says otherwise is found out (B4)."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite

from consilium_core.ids import new_uid
from consilium_dicom.validate import ValidationRun, validate
from consilium_dicom.video.bits import VideoUnreadable
from consilium_dicom.video.read import read_video
from consilium_dicom.video.source import VideoBytes
from consilium_dicom.video.stream import VideoStream

_ENDOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
_SYNTAX = "1.2.840.10008.1.2.4."


@dataclass(frozen=True)
class Film:
    """One film to make."""

    codec: str = "libx264"
    container: str = "mp4"
    width: int = 640
    height: int = 480
    rate: int = 25
    frames: int = 30
    options: tuple[tuple[str, str], ...] = (("profile", "high"), ("level", "4.1"), ("g", "10"), ("bf", "2"))
    pixels: str = "yuv420p"


@lru_cache(maxsize=64)
def made(film: Film) -> bytes:
    """Return a film of a moving bar, written by libav."""
    out = io.BytesIO()
    with av.open(out, "w", format=film.container) as target:
        stream: Any = target.add_stream(film.codec, rate=film.rate, options=dict(film.options))
        stream.width, stream.height, stream.pix_fmt = film.width, film.height, film.pixels
        for number in range(film.frames):
            picture = np.full((film.height, film.width, 3), 40, np.uint8)
            picture[:, number * 7 % film.width :][:, :20] = 220
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, film.rate)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return out.getvalue()


def read(data: bytes, pieces: int = 1) -> VideoStream:
    """Return what we say of a stream that lies in ``pieces`` fragments with other bytes between them."""
    step = -(-len(data) // pieces)
    buffer, segments = b"", []
    for at in range(0, len(data), step):
        part = data[at : at + step]
        segments.append((len(buffer) + 8, len(part)))
        buffer += b"FRAGMENT" + part
    return read_video(VideoBytes(buffer, segments))


def wrapped(video: bytes, suffix: str = "102", **changes: Any) -> bytes:
    """Return a Video Endoscopic object around the stream."""
    dataset = Dataset()
    plain: dict[str, Any] = {
        "ImageType": ["ORIGINAL", "PRIMARY"], "SOPClassUID": _ENDOSCOPIC, "SOPInstanceUID": new_uid(), "StudyDate": "20240102",
        "StudyTime": "101112", "AccessionNumber": "", "Modality": "ES", "Manufacturer": "consilium",
        "ReferringPhysicianName": "", "PatientName": "Wang^Da", "PatientID": "P1", "PatientBirthDate": "", "PatientSex": "",
        "StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid(), "StudyID": "", "SeriesNumber": 1, "InstanceNumber": 1,
        "AcquisitionContextSequence": [], "SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_PARTIAL_420",
        "PlanarConfiguration": 0, "NumberOfFrames": 30, "FrameIncrementPointer": 0x00181063, "FrameTime": "40",
        "Rows": 480, "Columns": 640, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
        "LossyImageCompression": "01",
    }  # fmt: skip
    for keyword, value in {**plain, **changes}.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = encapsulate([video + b"\0" * (len(video) % 2)], has_bot=True)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = _ENDOSCOPIC, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = _SYNTAX + suffix
    dataset.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def codes(run: ValidationRun) -> set[str]:
    return {one.code for one in run.findings if not one.note}


FILMS = [
    Film(),
    Film(container="mpegts"),
    Film(container="h264"),
    Film(width=1920, height=1080, rate=30, frames=8),
    Film(width=1920, height=1080, rate=25, frames=8, container="mpegts"),
    Film(options=(("profile", "main"), ("level", "4.0"), ("g", "12"))),
    Film(options=(("profile", "baseline"), ("level", "3.1"), ("g", "12"))),
    Film(options=(("profile", "high"), ("level", "5.1"), ("g", "12"))),
    Film(width=642, height=482),
    Film(options=(("profile", "high"), ("level", "4.1"), ("x264-params", "slices=4"))),
    Film(codec="libx265", options=(("x265-params", "log-level=none:keyint=10"),)),
    Film(codec="libx265", container="mpegts", options=(("x265-params", "log-level=none:keyint=10"),)),
    Film(codec="libx265", container="hevc", width=642, options=(("x265-params", "log-level=none"),)),
    Film(codec="mpeg2video", container="mpeg2video", width=720, height=576, options=()),
    Film(codec="mpeg2video", container="mpegts", width=720, height=576, options=()),
    Film(codec="mpeg2video", container="vob", width=720, height=576, options=()),
]


@pytest.mark.parametrize("film", FILMS, ids=lambda film: f"{film.codec}-{film.container}-{film.width}")
@pytest.mark.parametrize("pieces", [1, 7])
def test_a_stream_is_read_as_libav_reads_it(film: Film, pieces: int) -> None:
    data = made(film)
    ours = read(data, pieces)
    with av.open(io.BytesIO(data)) as theirs:
        video = theirs.streams.video[0]
        frames = sum(1 for _ in theirs.decode(video))
        context = video.codec_context
        assert (ours.picture.width, ours.picture.height) == (context.width, context.height)
        assert ours.fps is None or ours.fps == pytest.approx(float(video.average_rate or video.guessed_rate), rel=0.01)
        assert ours.frames in {frames, None}
        assert ours.alone
        name = {"h264": "H.264", "hevc": "HEVC", "mpeg2video": "MPEG-2"}[context.name]
        assert ours.picture.codec == name
        profile = str(context.profile)
    words = {100: "High", 77: "Main", 66: "Constrained Baseline"} if name == "H.264" else {1: "Main", 4: "Main"}
    assert words[ours.picture.profile] == profile
    if film.container != "vob":
        assert ours.frames == frames


def test_levels_are_read() -> None:
    assert read(made(FILMS[0])).picture.level == 41
    assert read(made(FILMS[7])).picture.level == 51


@pytest.mark.parametrize("container", ["mp4", "mpegts", "h264"])
def test_closed_groups_are_closed_and_open_ones_are_counted(container: str) -> None:
    closed = Film(container=container)
    opened = Film(
        container=container,
        options=(("profile", "high"), ("g", "10"), ("bf", "2"), ("x264-params", "open-gop=1:bframes=2:scenecut=0")),
    )
    assert read(made(closed)).open_groups == 0
    # in MP4 only IDR pictures are marked as entries unless the writer says more, so there is less to find
    assert read(made(opened)).open_groups > 0 or container == "mp4"


def test_what_is_declared_as_it_is_passes_without_a_word() -> None:
    run = validate(wrapped(made(Film())))
    assert (run.verdict, codes(run)) == ("accept", set())
    hevc = made(Film(codec="libx265", options=(("x265-params", "log-level=none:keyint=10:open-gop=0"),)))
    assert validate(wrapped(hevc, "107")).verdict == "accept"
    mpeg = made(FILMS[14])
    assert validate(wrapped(mpeg, "100", Rows=576, Columns=720)).verdict == "accept"


@pytest.mark.parametrize(
    ("film", "suffix", "changes", "code"),
    [
        (Film(), "107", {}, "video-codec-mismatch"),
        (FILMS[10], "102", {}, "video-codec-mismatch"),
        (FILMS[14], "102", {"Rows": 576, "Columns": 720}, "video-codec-mismatch"),
        (FILMS[7], "102", {}, "video-profile-mismatch"),
        (FILMS[7], "104", {}, "video-profile-mismatch"),
        (
            Film(pixels="yuv422p", options=(("profile", "high422"), ("level", "4.1"))),
            "102",
            {},
            "video-profile-mismatch",
        ),
        (Film(), "102", {"Rows": 482}, "video-size-mismatch"),
        (Film(), "102", {"Columns": 320}, "video-size-mismatch"),
    ],
)
def test_what_makes_the_object_invalid_rejects_it(film: Film, suffix: str, changes: dict[str, Any], code: str) -> None:
    run = validate(wrapped(made(film), suffix, **changes))
    assert (run.verdict, run.failure_reason) == ("reject", 0xA900)
    assert code in {one.code for one in run.fatal}


@pytest.mark.parametrize(
    ("film", "suffix", "changes", "code"),
    [
        (Film(), "102", {"NumberOfFrames": 31}, "video-frames-mismatch"),
        (Film(), "102", {"FrameTime": "33.33"}, "video-rate-mismatch"),
        (Film(), "102", {"PhotometricInterpretation": "YBR_FULL_422"}, "video-photometric"),
        (FILMS[5], "102", {}, "video-profile-lower"),
        (FILMS[6], "102", {}, "video-profile-lower"),
        (Film(container="h264"), "102", {}, "video-container"),
        (Film(), "103", {}, "video-format-unusual"),
        (Film(options=(("profile", "high"), ("level", "4.1"), ("aspect", "16:9"))), "102", {}, "video-aspect-ratio"),
        (
            Film(
                container="mpegts",
                options=(("profile", "high"), ("level", "4.1"), ("g", "10"), ("x264-params", "open-gop=1:bframes=2")),
            ),
            "102",
            {},
            "video-gop-open",
        ),
    ],
)
def test_what_differs_otherwise_is_a_warning(film: Film, suffix: str, changes: dict[str, Any], code: str) -> None:
    run = validate(wrapped(made(film), suffix, **changes))
    assert run.verdict == "accept_with_warnings"
    assert code in codes(run)


def test_a_disc_format_is_one_of_a_disc() -> None:
    film = Film(width=1920, height=1080, rate=25, frames=8)
    run = validate(wrapped(made(film), "103", Rows=1080, Columns=1920, NumberOfFrames=8))
    assert codes(run) == set()


def test_a_stream_that_begins_inside_a_group_is_refused() -> None:
    units = made(Film(container="h264")).split(b"\0\0\1")
    types = [unit[0] & 31 if unit else 0 for unit in units]
    begins, ends = types.index(5), types.index(1)
    cut = b"\0\0\1".join([*units[:begins], *units[ends:]])
    assert "video-no-keyframe" in {one.code for one in validate(wrapped(cut)).fatal}


@pytest.mark.parametrize(
    "junk", [b"RIFF....AVI LIST" * 40, b"\0" * 4000, b"\x47" * 3000, b"\0\0\0\x08ftyp" * 9, b"\0\0\1" * 5000]
)
def test_what_is_no_video_is_refused(junk: bytes) -> None:
    run = validate(wrapped(junk))
    assert {one.code for one in run.fatal} == {"video-unreadable"}


SEEDS = [made(Film(frames=6, width=64, height=48, container=kind)) for kind in ("mp4", "mpegts", "h264")]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2), st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=6))
def test_no_bytes_make_reading_raise_anything_else(number: int, edits: list[tuple[float, bytes]]) -> None:
    data = bytearray(SEEDS[number])
    for place, chunk in edits:
        at = int(place * (len(data) - 1))
        data[at : at + len(chunk)] = chunk
    try:
        found = read(bytes(data))
    except VideoUnreadable:
        return
    assert found.frames is None or found.frames >= 0


def test_a_table_that_lies_about_its_length_costs_no_memory() -> None:
    data = bytearray(made(Film(frames=6, width=64, height=48)))
    for kind in (b"stsz", b"stco", b"stsc", b"stts"):
        at = data.index(kind)
        spoiled = bytearray(data)
        struct.pack_into(">I", spoiled, at + (12 if kind == b"stsz" else 8), 0xFFFFFFF0)
        with pytest.raises(VideoUnreadable):
            read(bytes(spoiled))
