"""The agent's hands on real codecs, real files and real HTTP: encoders, capture, spool, memory, state folder."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from consilium_core.frame_ref import FrameStamp, parse_sei_nal
from consilium_core.site_protocol import AgentEventType, CommandType, Result
from consilium_site.adapters.capture_cv2 import CaptureWorker, Source, SourceKind, compress_jpeg, source_kind
from consilium_site.adapters.encoder_av import make_encoder, to_i420
from consilium_site.adapters.memory_sqlite import SqliteMemory
from consilium_site.adapters.spool_folder import SpoolFolder
from consilium_site.adapters.state_folder import StateFolder
from consilium_site.adapters.whip_aiortc import without_mdns
from consilium_site.domain.frames import CapturedFrame
from consilium_site.domain.h264 import nal_spans
from consilium_site.domain.publication import DesiredStream, StreamFormat
from consilium_site.domain.ring import FrameRing, RingLimits
from consilium_site.domain.spool import Manifest
from consilium_site.errors import SettingsInvalid, SpoolFull, StateInUse, StateUnreadable
from consilium_site.flow.encode import EncodeWorker
from consilium_site.flow.hub import FrameHub
from consilium_site.flow.tasks import Tasks
from consilium_site.ports import EncodedPicture, OpenCommand
from consilium_site.settings import SiteSettings, settings_table


def frame(number: int, width: int = 320, height: int = 240) -> CapturedFrame:
    """Return a picture with a square that moves with ``number``."""
    pixels = np.full((height, width, 3), 40, dtype=np.uint8)
    left = number * 5 % (width - 40)
    pixels[20:60, left : left + 40] = (0, 0, 255)
    return CapturedFrame(FrameStamp(3, number, 1_900_000_000_000_000 + number), number * 3000, pixels)


def decoded(pictures: list[EncodedPicture], codec: str) -> list[Any]:
    """Return pictures decoded to RGB arrays."""
    context = av.CodecContext.create(codec, "r")
    frames = [f for p in pictures for f in context.decode(av.Packet(p.data))]
    frames += context.decode(None)
    return [f.to_ndarray(format="rgb24") for f in frames]


class TestEncoders:
    @pytest.mark.parametrize(("codec", "decoder"), [("h264", "h264"), ("vp8", "vp8")])
    def test_each_frame_comes_out_at_once_and_decodes_to_its_picture(self, codec: str, decoder: str) -> None:
        encoder = make_encoder(StreamFormat(codec, 320, 240, 30.0, 2_000_000))
        pictures = []
        for number in range(30):
            out = encoder.encode(frame(number), keyframe=number == 0)
            assert [p.pts for p in out] == [number * 3000]
            pictures += out
        encoder.close()
        shown = decoded(pictures, decoder)
        assert len(shown) == 30
        left = 29 * 5
        red, back = shown[29][40, left + 20], shown[29][200, 300]
        assert red[0] > 180
        assert red[2] < 90
        assert abs(int(back[0]) - 40) < 12

    @pytest.mark.parametrize("codec", ["h264", "vp8"])
    def test_sp42_keyframes_come_when_asked_and_only_then(self, codec: str) -> None:
        encoder = make_encoder(StreamFormat(codec, 320, 240, 30.0, 2_000_000))
        keys = [encoder.encode(frame(n), keyframe=n in (0, 20))[0].keyframe for n in range(150)]
        assert [n for n, key in enumerate(keys) if key] == [0, 20]

    def test_sp42_keyframe_carries_parameter_sets_and_the_frames_stamp(self) -> None:
        encoder = make_encoder(StreamFormat("h264", 320, 240, 30.0, 2_000_000))
        encoder.encode(frame(0), keyframe=True)
        data = encoder.encode(frame(5), keyframe=True)[0].data
        spans = list(nal_spans(data))
        assert [kind for _, _, kind in spans if kind in (5, 7, 8)] == [7, 8, 5]
        units = [data[at : (spans[i + 1][0] if i + 1 < len(spans) else None)] for i, (_, at, _) in enumerate(spans)]
        assert [s for s in map(parse_sei_nal, units) if s] == [FrameStamp(3, 5, 1_900_000_000_000_005)]

    @pytest.mark.parametrize(("size", "level"), [((1280, 720), 31), ((1920, 1080), 40)])
    def test_stream_says_constrained_baseline_and_its_level(self, size: tuple[int, int], level: int) -> None:
        encoder = make_encoder(StreamFormat("h264", *size, 30.0, 4_000_000))
        data = encoder.encode(frame(1, *size), keyframe=True)[0].data
        at = next(at for _, at, kind in nal_spans(data) if kind == 7)
        profile, constraints, level_idc = data[at + 1 : at + 4]
        assert (profile, constraints & 0x40, level_idc) == (66, 0x40, level)

    def test_odd_sizes_are_padded_and_large_ones_scaled(self) -> None:
        assert to_i420(frame(1, 321, 241).pixels, 322, 242).shape == (363, 322)
        assert to_i420(frame(1, 1920, 1080).pixels, 1280, 720).shape == (1080, 1280)

    def test_ring_jpeg_is_baseline_with_422_chroma(self) -> None:
        jpeg = compress_jpeg(95)(frame(1).pixels)
        at = jpeg.index(b"\xff\xc0")
        assert jpeg[at + 9] == 3
        assert jpeg[at + 11] == 0x21


class _Clip:
    """Collects a capture worker's frames."""

    def __init__(self) -> None:
        self.frames: list[CapturedFrame] = []
        self.states: list[tuple[str, str]] = []
        self.enough = threading.Event()
        self.want = 1

    def on_frame(self, captured: CapturedFrame) -> None:
        self.frames.append(captured)
        if len(self.frames) >= self.want:
            self.enough.set()


def video(path: Path, frames: int = 10, fps: int = 50) -> Path:
    """Write a small MJPEG file."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (320, 240))
    for number in range(frames):
        writer.write(frame(number).pixels)
    writer.release()
    return path


class TestCapture:
    def test_source_words_are_told_apart(self) -> None:
        assert source_kind("0") is SourceKind.DEVICE
        assert source_kind("/dev/video2") is SourceKind.DEVICE
        assert source_kind("rtsp://camera/1") is SourceKind.URL
        assert source_kind("clip.avi") is SourceKind.FILE

    def test_file_is_played_again_at_its_own_rate_with_growing_numbers(self, tmp_path: Path) -> None:
        clip = _Clip()
        clip.want = 25
        source = Source(SourceKind.FILE, str(video(tmp_path / "a.avi")), "file")
        worker = CaptureWorker(source, 4, clip.on_frame, lambda d: clip.states.append((d.state, d.detail)))
        worker.start()
        assert clip.enough.wait(30)
        worker.close()
        assert [f.stamp.frame_no for f in clip.frames[:25]] == list(range(1, 26))
        assert {f.stamp.media_epoch for f in clip.frames} == {4}
        pts = [f.pts for f in clip.frames]
        assert pts == sorted(pts)
        assert worker.device().fps == 50.0
        assert clip.states[0] == ("live", "")

    def test_missing_file_is_an_error_in_words_and_is_tried_again(self, tmp_path: Path) -> None:
        clip, told = _Clip(), threading.Event()
        path = tmp_path / "later.avi"

        def on_change(device: Any) -> None:
            clip.states.append((device.state, device.detail))
            told.set()

        worker = CaptureWorker(Source(SourceKind.FILE, str(path), "file"), 1, clip.on_frame, on_change)
        worker.start()
        assert told.wait(30)
        assert clip.states[0] == ("error", "The capture file does not exist.")
        video(tmp_path / "made.avi").rename(path)
        assert clip.enough.wait(30)
        worker.close()
        assert clip.states[-1][0] == "live"

    def test_device_that_is_not_there_is_an_error_in_words(self) -> None:
        told = threading.Event()
        worker = CaptureWorker(Source(SourceKind.DEVICE, "63", "card"), 1, lambda f: None, lambda d: told.set())
        worker.start()
        assert told.wait(30)
        worker.close()
        assert worker.device().state == "error"
        assert "plugged in" in worker.device().detail


def test_sp42_worker_makes_a_new_encoder_when_the_picture_changes_its_size() -> None:
    hub = FrameHub(FrameRing(RingLimits()), compress_jpeg(95))
    got: list[EncodedPicture] = []
    came = threading.Semaphore(0)

    def sink(picture: EncodedPicture) -> None:
        got.append(picture)
        came.release()

    worker = EncodeWorker(hub, DesiredStream("r", "h264", 1080, 4_000_000), 30.0, make_encoder, sink, 2.0, lambda: None)
    worker.start()
    for number, size in enumerate([(320, 240), (320, 240), (640, 480)]):
        hub.publish(frame(number, *size))
        assert came.acquire(timeout=30)
    worker.close()
    assert [p.keyframe for p in got] == [True, False, True]
    assert worker.format is not None
    assert (worker.format.width, worker.format.height) == (640, 480)


def entry(capture_id: str = "c1", kind: str = "still", at: str = "2030-01-01T00:00:00.000Z", size: int = 3) -> Manifest:
    """Return a spool entry."""
    return Manifest.model_validate(
        {
            "capture_id": capture_id, "command_id": "k", "room_id": "demo", "kind": kind, "sha256": "ab" * 32,
            "size_bytes": size, "study_uid": "2.25.1", "series_uid": "2.25.2", "sop_instance_uid": "2.25.3",
            "sop_class_uid": "1.2", "frames": 1, "lossless": True, "media_epoch": 1, "frame_no": 1, "captured_at_us": 1,
            "spooled_at": at,
        }
    )  # fmt: skip


class TestSpool:
    def test_entries_survive_a_new_process_stills_first_then_the_oldest(self, tmp_path: Path) -> None:
        spool = SpoolFolder(tmp_path, 10**6)
        spool.put(entry("clip", "clip", "2030-01-01T00:00:00.000Z"), b"abc")
        spool.put(entry("late", at="2030-01-01T00:00:02.000Z"), b"abc")
        spool.put(entry("early", at="2030-01-01T00:00:01.000Z"), b"abc")
        again = SpoolFolder(tmp_path, 10**6)
        assert [m.capture_id for m in again.entries()] == ["early", "late", "clip"]
        assert again.unacknowledged() == (3, 9)
        assert again.read(again.entries()[0], 1, 10) == b"bc"
        assert stat.S_IMODE((tmp_path / "clip.dcm").stat().st_mode) == 0o600

    def test_sp36_object_without_manifest_was_never_promised_and_is_cleaned(self, tmp_path: Path) -> None:
        (tmp_path / "half.dcm").write_bytes(b"x")
        (tmp_path / ".other.dcm.part").write_bytes(b"x")
        assert SpoolFolder(tmp_path, 100).entries() == []
        assert not list(tmp_path.glob("*.dcm"))

    def test_full_spool_refuses_and_evicts_nothing(self, tmp_path: Path) -> None:
        spool = SpoolFolder(tmp_path, 4)
        spool.put(entry("a"), b"abc")
        with pytest.raises(SpoolFull):
            spool.put(entry("b"), b"abc")
        assert [m.capture_id for m in spool.entries()] == ["a"]

    def test_damaged_manifest_goes_to_quarantine_with_its_object(self, tmp_path: Path) -> None:
        spool = SpoolFolder(tmp_path, 100)
        spool.put(entry("a"), b"abc")
        (tmp_path / "a.json").write_bytes(b"{")
        assert spool.entries() == []
        assert (tmp_path / "quarantine" / "a.dcm").read_bytes() == b"abc"

    def test_capture_id_cannot_leave_the_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="letters"):
            SpoolFolder(tmp_path, 100).put(entry("../x"), b"abc")


@pytest.fixture
def memory(tmp_path: Path) -> Any:
    """Return a maker of memories on one file, closed at the end."""
    made: list[SqliteMemory] = []

    def make() -> SqliteMemory:
        made.append(SqliteMemory(tmp_path / "agent.db"))
        return made[-1]

    yield make
    for one in made:
        one.close()


class TestMemory:
    def test_sp30_numbers_of_events_never_come_twice(self, memory: Callable[[], SqliteMemory]) -> None:
        first = memory()
        now = datetime(2030, 1, 1, tzinfo=UTC)
        assert [first.add_event(AgentEventType.DEVICES, now, {"n": n}) for n in range(3)] == [1, 2, 3]
        first.forget_events(3)
        second = memory()
        assert second.add_event(AgentEventType.DEVICES, now, {}) == 4
        assert [e.seq for e in second.waiting_events(10)] == [4]

    def test_sp25_and_sp28_commands_are_known_and_interrupted_ones_found(
        self, memory: Callable[[], SqliteMemory]
    ) -> None:
        first = memory()
        for name in ("received", "accepted", "finished"):
            assert first.note_received(OpenCommand(name, CommandType.CAPTURE_MARK, "c", "r"))
        first.note_accepted("accepted")
        first.note_accepted("finished")
        first.note_result("finished", Result(outcome="succeeded"))
        first.note_result("finished", Result(outcome="failed"))
        second = memory()
        assert [c.command_id for c in second.interrupted()] == ["received", "accepted"]
        assert second.waiting_results() == [("finished", Result(outcome="succeeded"))]
        assert not second.note_received(OpenCommand("received", CommandType.CAPTURE_MARK, "c", "r"))
        assert not second.note_received(OpenCommand("finished", CommandType.CAPTURE_MARK, "c", "r"))
        second.result_delivered("finished")
        assert second.waiting_results() == []

    def test_sp44_media_epoch_grows_with_each_start(self, memory: Callable[[], SqliteMemory]) -> None:
        assert [memory().next_media_epoch() for _ in range(3)] == [1, 2, 3]

    def test_sp40_desired_streams_survive(self, memory: Callable[[], SqliteMemory]) -> None:
        one, two = DesiredStream("r", "h264", 1080, 4), DesiredStream("r", "vp8", 720, 2)
        first = memory()
        first.put_stream(one)
        first.put_stream(two)
        first.drop_stream("r", "vp8")
        assert memory().streams() == [one]


class TestStateFolder:
    def test_one_agent_at_a_time(self, tmp_path: Path) -> None:
        state = StateFolder(tmp_path / "s")
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
        with state.lock():
            assert StateFolder(tmp_path / "s").in_use()
            with pytest.raises(StateInUse), StateFolder(tmp_path / "s").lock():
                pass
        assert not state.in_use()

    def test_sp10_nonce_stays_for_a_code_and_changes_with_it(self, tmp_path: Path) -> None:
        state = StateFolder(tmp_path)
        first = state.enrolment_nonce("a")
        assert StateFolder(tmp_path).enrolment_nonce("a") == first
        assert state.enrolment_nonce("b") != first

    def test_sp29_damaged_policy_stops_the_agent_instead_of_allowing_everything(self, tmp_path: Path) -> None:
        (tmp_path / "policy.toml").write_text('alow = ["stream.publish"]\n')
        with pytest.raises(StateUnreadable):
            StateFolder(tmp_path).policy()


def test_unknown_setting_fails_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_SITE_SORCE", "0")
    with pytest.raises(SettingsInvalid, match="CONSILIUM_SITE_SORCE"):
        SiteSettings.load()


def test_sp01_agent_loads_no_server_library() -> None:
    program = (
        "import sys, consilium_site.app; names = {m.split('.')[0] for m in sys.modules};"
        "bad = names & {'fastapi', 'uvicorn', 'starlette', 'websockets', 'aiohttp', 'socketserver', 'hypercorn', 'flask'};"
        "bad |= {m for m in sys.modules if m in ('http.server', 'wsgiref')};"
        "raise SystemExit(', '.join(sorted(bad)) or 0)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr.strip()) == (0, "")


async def test_url_source_goes_on_after_the_camera_was_gone(mjpeg_camera: Any) -> None:
    clip = _Clip()
    source = Source(SourceKind.URL, mjpeg_camera.url, "net", open_timeout_s=5.0)
    worker = CaptureWorker(source, 1, clip.on_frame, lambda d: clip.states.append((d.state, d.detail)))
    worker.start()
    try:
        assert await asyncio.to_thread(clip.enough.wait, 30)
        mjpeg_camera.cut()
        await asyncio.to_thread(mjpeg_camera.again.wait, 30)
        seen = len(clip.frames)
        clip.want = seen + 3
        clip.enough.clear()
        assert await asyncio.to_thread(clip.enough.wait, 30)
    finally:
        await asyncio.to_thread(worker.close)
    assert "no_signal" in [state for state, _ in clip.states]
    assert clip.states[-1][0] == "live"


def test_readme_lists_every_setting(repo: Path) -> None:
    assert settings_table() in (repo / "services" / "site" / "README.md").read_text(encoding="utf-8")


def test_encoder_that_fails_is_told_so_that_the_publication_begins_anew() -> None:
    hub = FrameHub(FrameRing(RingLimits()), compress_jpeg(95))
    failed = threading.Event()

    def broken(_target: StreamFormat) -> Any:
        raise RuntimeError("no such codec")

    stream = DesiredStream("r", "h264", 1080, 4_000_000)
    worker = EncodeWorker(hub, stream, 30.0, broken, lambda p: None, 2.0, failed.set)
    worker.start()
    hub.publish(frame(1))
    assert failed.wait(30)
    worker.close()


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://hospital.example", "https://", "https://x.example/prefix", "consult.example"]
)
def test_server_address_is_an_origin_with_tls(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="server_url"):
        SiteSettings.load(server_url=url)


def test_plain_http_is_for_this_machine_or_a_network_that_was_allowed() -> None:
    assert SiteSettings.load(server_url="http://127.0.0.1:8080").server_url
    assert SiteSettings.load(server_url="http://10.0.0.1", allow_plain_http=True).server_url


def test_sp01_mdns_candidates_are_not_resolved() -> None:
    sdp = "v=0\r\na=candidate:1 1 udp 1 abc.local 9 typ host\r\na=candidate:2 1 udp 1 10.0.0.1 9 typ host\r\n"
    assert without_mdns(sdp) == "v=0\r\na=candidate:2 1 udp 1 10.0.0.1 9 typ host\r\n"


async def test_task_that_fails_unexpectedly_begins_again() -> None:
    tasks, ran = Tasks(), asyncio.Event()
    attempts = 0

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError("disk full")
        ran.set()

    tasks.keep("work", work)
    async with asyncio.timeout(30):
        await ran.wait()
    await tasks.close()
    assert attempts == 2
