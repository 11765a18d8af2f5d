"""Rules of the agent without any hardware, network or codec."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium_core.errors import Conflict
from consilium_core.frame_ref import FrameRef, FrameStamp, parse_sei_nal, sei_nal
from consilium_core.site_protocol import Command, CommandType, Receipt
from consilium_site.adapters.whip_aiortc import parse_ice_links
from consilium_site.domain.backoff import Backoff, PollWait
from consilium_site.domain.frames import RTP_CLOCK_HZ, CapturedFrame, KeptFrame, rtp_distance, rtp_timestamp
from consilium_site.domain.h264 import bitrate_for, insert_sei, level_for, nal_spans
from consilium_site.domain.orders import Policy, Refusal, read_command, verdict
from consilium_site.domain.publication import TRANSITIONS, DesiredStream, PublicationState, Signal, after, fit
from consilium_site.domain.ring import FrameRing, RingLimits, Shown
from consilium_site.domain.spool import Manifest, check_receipt, next_chunk_bytes
from consilium_site.errors import FrameNotKept, ReceiptMismatch

FPS = 30
TICKS = RTP_CLOCK_HZ // FPS
START_US = 1_900_000_000_000_000


def kept(number: int, size: int = 100, width: int = 64) -> KeptFrame:
    """Return the ring's frame ``number`` (from 1) at 30 frames a second."""
    stamp = FrameStamp(7, number, START_US + number * 1_000_000 // FPS)
    return KeptFrame(stamp, number * TICKS, width, 48, bytes(size))


def raw(number: int) -> CapturedFrame:
    """Return the raw frame ``number``."""
    stamp = FrameStamp(7, number, START_US + number * 1_000_000 // FPS)
    return CapturedFrame(stamp, number * TICKS, np.zeros((48, 64, 3), dtype=np.uint8))


def filled(frames: int, limits: RingLimits | None = None) -> FrameRing:
    ring = FrameRing(limits or RingLimits())
    for number in range(1, frames + 1):
        ring.keep_raw(raw(number))
        ring.keep(kept(number))
    return ring


def shown(newest: int, *, since: int = 0, late_s: float = 0.0) -> Shown:
    """Return what a room may see whose first frame was ``since``, asked ``late_s`` seconds after frame ``newest``."""
    return Shown(since * TICKS, START_US + newest * 1_000_000 // FPS + round(late_s * 1e6))


HUNDRED = filled(100)


class TestRing:
    def test_keeps_only_the_last_seconds(self) -> None:
        use = filled(FPS * 5, RingLimits(seconds=2.0)).use()
        assert (use.frames, use.seconds) == (61, 2.0)

    def test_bytes_bound_the_memory_whatever_the_seconds(self) -> None:
        use = filled(FPS * 5, RingLimits(max_bytes=1000, raw_max_bytes=64 * 48 * 3 * 4)).use()
        assert (use.frames, use.size_bytes, use.raw_frames) == (10, 1000, 4)

    def test_last_seconds_come_oldest_first(self) -> None:
        frames = filled(FPS * 12).last(10, shown(FPS * 12))
        assert [f.stamp.frame_no for f in frames] == list(range(61, 361))

    def test_clip_ends_where_the_picture_changed_its_size(self) -> None:
        ring = filled(30)
        for number in range(31, 41):
            ring.keep(kept(number, width=128))
        assert [f.width for f in ring.last(10, shown(40))] == [128] * 10

    def test_empty_ring_says_so(self) -> None:
        with pytest.raises(FrameNotKept):
            FrameRing(RingLimits()).last(10, shown(0))
        with pytest.raises(FrameNotKept):
            FrameRing(RingLimits()).find(None, [], 1 / FPS, shown(100))

    def test_sp43_without_reference_the_newest_raw_frame_is_taken(self) -> None:
        found = filled(100).find(None, [], 1 / FPS, shown(100))
        assert isinstance(found, CapturedFrame)
        assert found.stamp.frame_no == 100

    def test_sp43_frame_number_of_the_same_epoch_wins(self) -> None:
        ref = FrameRef(track_id="t", rtp_timestamp=0, media_epoch=7, frame_no=3)
        found = filled(100).find(ref, [], 1 / FPS, shown(100))
        assert isinstance(found, KeptFrame)
        assert found.stamp.frame_no == 3

    def test_sp43_frame_number_of_an_earlier_epoch_names_nothing(self) -> None:
        ref = FrameRef(track_id="t", rtp_timestamp=0, media_epoch=6, frame_no=3)
        with pytest.raises(FrameNotKept):
            filled(100).find(ref, [], 1 / FPS, shown(100))

    def test_sp43_frame_beside_the_raw_ones_is_not_mistaken_for_its_neighbour(self) -> None:
        ref = FrameRef(track_id="t", rtp_timestamp=39 * TICKS + 750)
        assert filled(100).find(ref, [0], 1 / FPS, shown(100)).stamp.frame_no == 39

    @given(origin=st.integers(0, 2**32 - 1), number=st.integers(1, 100), off=st.integers(-1000, 1000))
    def test_sp43_rtp_timestamp_finds_its_frame_across_the_wrap(self, origin: int, number: int, off: int) -> None:
        ref = FrameRef(track_id="t", rtp_timestamp=rtp_timestamp(number * TICKS + off, origin))
        assert HUNDRED.find(ref, [5, origin], 1 / FPS, shown(100)).stamp.frame_no == number

    def test_sp43_capture_time_finds_the_nearest_frame(self) -> None:
        ref = FrameRef(track_id="t", rtp_timestamp=1, captured_at_us=START_US + 50 * 1_000_000 // FPS + 9000)
        assert filled(100).find(ref, [], 1 / FPS, shown(100)).stamp.frame_no == 50


class TestWhoseFrames:
    """SP-45: nothing of before, nothing of a picture that stands."""

    def test_a_clip_begins_with_the_first_frame_that_was_published_into_the_room(self) -> None:
        frames = filled(FPS * 12).last(10, shown(FPS * 12, since=FPS * 9 + 1))
        assert [f.stamp.frame_no for f in frames] == list(range(FPS * 9 + 1, FPS * 12 + 1))

    def test_frames_of_before_the_run_are_not_found_by_any_reference(self) -> None:
        early = FrameRef(track_id="t", rtp_timestamp=39 * TICKS, media_epoch=7, frame_no=39)
        with pytest.raises(FrameNotKept):
            filled(100).find(early, [0], 1 / FPS, shown(100, since=40))
        with pytest.raises(FrameNotKept):
            filled(100).find(None, [0], 1 / FPS, shown(100, since=101))

    def test_a_standing_picture_is_not_what_the_machine_shows_now(self) -> None:
        assert filled(100).find(None, [], 1 / FPS, shown(100, late_s=1.9)).stamp.frame_no == 100
        with pytest.raises(FrameNotKept, match="standing for 3 s"):
            filled(100).find(None, [], 1 / FPS, shown(100, late_s=3))

    def test_of_a_picture_that_stopped_a_clip_holds_what_its_seconds_still_saw(self) -> None:
        frames = filled(FPS * 12).last(10, shown(FPS * 12, late_s=4))
        assert [f.stamp.frame_no for f in frames] == list(range(FPS * 6 + 1, FPS * 12 + 1))
        with pytest.raises(FrameNotKept, match="standing for 11 s"):
            filled(FPS * 12).last(10, shown(FPS * 12, late_s=11))


@given(a=st.integers(0, 2**32 - 1), b=st.integers(0, 2**32 - 1))
def test_rtp_distance_is_symmetric_and_at_most_half_the_circle(a: int, b: int) -> None:
    assert rtp_distance(a, b) == rtp_distance(b, a) <= 2**31


class TestWaiting:
    def test_sp22_back_off_is_full_jitter_doubling_to_its_ceiling(self) -> None:
        backoff = Backoff(first_s=1.0, max_s=8.0, chance=lambda: 0.5)
        assert [backoff.next_delay_s() for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]
        backoff.reset()
        assert backoff.next_delay_s() == 0.5

    def test_sp22_retry_after_is_a_lower_bound(self) -> None:
        assert Backoff(chance=lambda: 0.0).next_delay_s(at_least_s=7.0) == 7.0

    def test_sp21_poll_shrinks_after_three_cuts_and_grows_again(self) -> None:
        wait = PollWait(max_s=50.0)
        seen = []
        for _ in range(12):
            wait.was_cut()
            seen.append(wait.wait_s)
        assert seen == [50, 50, 25, 25, 25, 12, 12, 12, 10, 10, 10, 10]
        for _ in range(9):
            wait.lasted()
        assert wait.wait_s == 50.0

    def test_sp21_answer_between_cuts_forgives_them(self) -> None:
        wait = PollWait()
        for _ in range(5):
            wait.was_cut()
            wait.was_cut()
            wait.answered()
        assert wait.wait_s == 50.0


class TestH264:
    @pytest.mark.parametrize(
        ("width", "height", "fps", "level"),
        [
            (640, 480, 30, 30),
            (1280, 720, 30, 31),
            (1280, 720, 60, 32),
            (1920, 1080, 30, 40),
            (1920, 1080, 60, 42),
            (3840, 2160, 30, 51),
        ],
    )
    def test_level_is_the_lowest_that_allows_size_and_rate(self, width: int, height: int, fps: int, level: int) -> None:
        assert level_for(width, height, fps, 4_000_000).idc == level

    def test_bitrate_raises_the_level(self) -> None:
        assert level_for(640, 480, 30, 12_000_000).idc == 31

    def test_bitrate_follows_the_size_within_its_bounds(self) -> None:
        assert bitrate_for(320, 240, 30, 8_000_000) == 1_000_000
        assert 5_000_000 < bitrate_for(1280, 720, 30, 8_000_000) < 6_000_000
        assert bitrate_for(1920, 1080, 60, 20_000_000) == 8_000_000
        assert bitrate_for(1920, 1080, 30, 2_000_000) == 2_000_000

    def test_sp42_sei_stands_after_parameter_sets_and_before_the_idr_slice(self) -> None:
        unit = b"\0\0\0\1\x67SPS\0\0\0\1\x68PPS\0\0\1\x65slice"
        stamp = FrameStamp(1, 2, 3)
        stamped = insert_sei(unit, sei_nal(stamp))
        kinds = [kind for _, _, kind in nal_spans(stamped)]
        assert kinds == [7, 8, 6, 5]
        starts = [at for _, at, _ in nal_spans(stamped)]
        assert parse_sei_nal(stamped[starts[2] : starts[3] - 3]) == stamp
        assert stamped.endswith(b"\0\0\1\x65slice")

    def test_access_unit_without_idr_stays_as_it_is(self) -> None:
        unit = b"\0\0\0\1\x41slice"
        assert insert_sei(unit, b"\x06x") == unit

    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
    def test_stamp_survives_emulation_prevention(self, epoch: int, number: int, at_us: int) -> None:
        stamp = FrameStamp(epoch, number, at_us)
        unit = insert_sei(b"\0\0\1\x65x", sei_nal(stamp))
        first, second = (at for _, at, _ in nal_spans(unit))
        assert parse_sei_nal(unit[first : second - 3]) == stamp


class TestPublication:
    def test_table_leads_from_every_state_to_stopped(self) -> None:
        for state in PublicationState:
            assert after(state, Signal.STOP) is PublicationState.STOPPED

    def test_transition_outside_the_table_is_a_conflict(self) -> None:
        missing = [(s, g) for s in PublicationState for g in Signal if (s, g) not in TRANSITIONS]
        assert missing
        for state, signal in missing:
            with pytest.raises(Conflict):
                after(state, signal)

    @pytest.mark.parametrize(
        ("size", "limit", "fitted"),
        [((1920, 1080), 720, (1280, 720)), ((641, 479), 1080, (642, 480)), ((640, 480), 1080, (640, 480))],
    )
    def test_picture_is_fitted_to_even_sizes_and_never_enlarged(
        self, size: tuple[int, int], limit: int, fitted: tuple[int, int]
    ) -> None:
        assert fit(*size, limit) == fitted

    def test_sp41_whip_address_is_fixed_and_quoted(self) -> None:
        assert DesiredStream("a/../b?", "h264", 1080, 1).whip_path == "/whip/a%2F..%2Fb%3F"


NOW = datetime(2030, 1, 1, tzinfo=UTC)


def wire(**changes: object) -> dict[str, object]:
    """Return a command as JSON."""
    raw_command: dict[str, object] = {
        "id": "c1",
        "seq": 1,
        "args": {"type": "stream.keyframe", "room_id": "demo"},
        "issued_at": NOW.isoformat(),
        "deadline": (NOW + timedelta(minutes=1)).isoformat(),
    }
    return raw_command | changes


class TestOrders:
    def test_sp04_unknown_type_and_newer_schema_are_unsupported(self) -> None:
        assert read_command(wire(args={"type": "shell.run"})) == Refusal("c1", "unsupported")
        assert read_command(wire(schema_version=2)) == Refusal("c1", "unsupported")
        assert read_command(wire(args=None)) == Refusal("c1", "unsupported")

    def test_sp24_arguments_out_of_range_are_invalid(self) -> None:
        clip = {
            "type": "capture.clip",
            "room_id": "r",
            "capture_id": "c",
            "seconds": 900,
            "context": {"study_uid": "1"},
        }
        assert read_command(wire(args=clip)) == Refusal("c1", "invalid")

    def test_sp24_past_deadline_is_expired(self) -> None:
        command = read_command(wire())
        assert isinstance(command, Command)
        assert verdict(command, Policy(), NOW) is None
        assert verdict(command, Policy(), NOW + timedelta(hours=1)) == Refusal("c1", "expired")

    def test_sp29_policy_refuses_what_it_does_not_name(self) -> None:
        command = read_command(wire())
        assert isinstance(command, Command)
        only = Policy(allow=frozenset({CommandType.AGENT_DIAGNOSE}))
        assert verdict(command, only, NOW) == Refusal("c1", "policy")


def manifest(**changes: object) -> Manifest:
    """Return a spool entry."""
    facts: dict[str, object] = {
        "capture_id": "c1", "command_id": "k1", "room_id": "demo", "kind": "still", "sha256": "ab" * 32, "size_bytes": 9,
        "study_uid": "2.25.1", "series_uid": "2.25.2", "sop_instance_uid": "2.25.3", "sop_class_uid": "1.2", "frames": 1,
        "lossless": True, "media_epoch": 1, "frame_no": 1, "captured_at_us": 1, "spooled_at": "2030-01-01T00:00:00.000Z",
    }  # fmt: skip
    return Manifest.model_validate(facts | changes)


class TestReceipts:
    @pytest.mark.parametrize("wrong", [{"sha256": "cd" * 32}, {"size_bytes": 8}, {"sop_instance_uid": "2.25.4"}])
    def test_sp35_receipt_of_other_bytes_frees_nothing(self, wrong: dict[str, object]) -> None:
        receipt = Receipt.model_validate(
            {**manifest().model_dump(), "upload_id": "u", "verdict": "accept", "stored_at": NOW}
        )
        check_receipt(manifest(), receipt)
        with pytest.raises(ReceiptMismatch):
            check_receipt(manifest(), receipt.model_copy(update=wrong))

    def test_sp34_chunk_adapts_to_take_two_to_five_seconds(self) -> None:
        mib = 2**20
        assert next_chunk_bytes(mib, 0.5) == 2 * mib
        assert next_chunk_bytes(mib, 3.0) == mib
        assert next_chunk_bytes(mib, 9.0) == mib // 2
        assert next_chunk_bytes(4 * mib, 0.1) == 4 * mib
        assert next_chunk_bytes(256 * 1024, 60.0) == 256 * 1024


def test_sp41_ice_servers_are_read_from_link_headers() -> None:
    header = '<turn:t.example:3478?transport=udp>; rel="ice-server"; username="u"; credential="p=q"; credential-type="password"'
    links = [f'<stun:s.example:3478>; rel="ice-server", {header}', '<https://x>; rel="next"']
    assert parse_ice_links(links) == (
        ("stun:s.example:3478", "", ""),
        ("turn:t.example:3478?transport=udp", "u", "p=q"),
    )
