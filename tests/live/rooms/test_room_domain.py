"""A room's states, colours, limits, and the reading of offers: pure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consilium_core.errors import Conflict, Exhausted
from consilium_core.frame_ref import FrameRef
from consilium_core.roles import Role
from consilium_core.site_protocol import PatientContext
from consilium_live.domain.limits import ErrorBudget, Rate
from consilium_live.domain.offer import MediaLine, connection_id, media_lines
from consilium_live.domain.participant import COLORS, Participant, pick_color
from consilium_live.domain.room import TRANSITIONS, Room, RoomState
from consilium_live.domain.stroke import Board, StrokeDraft
from consilium_live.domain.track import SecondEncode, bitrate_ceiling, personal_prefix
from consilium_live.errors import RoomEnded

AT = datetime(2030, 1, 1, tzinfo=UTC)


def room(state: RoomState = RoomState.PLANNED, *, wanted: bool = False) -> Room:
    return Room("r", "demo", "Echo", "s", "County", "US", "1.2", "", PatientContext(), state, wanted, AT, "u")


def test_the_table_knows_every_state_and_ended_is_the_end() -> None:
    assert set(TRANSITIONS) == set(RoomState)
    assert TRANSITIONS[RoomState.ENDED] == frozenset()


def test_a_room_goes_from_planned_to_ended() -> None:
    lobby = room().entered(AT)
    live = lobby.started(AT).seen_live(AT)
    paused = live.stopped()
    again = paused.started(AT).seen_live(AT)
    over = again.ended(AT)
    states = [r.state.value for r in (lobby, live, paused, again, over)]
    assert states == ["lobby", "live", "paused", "live", "ended"]
    assert (lobby.waiting_since, live.started_at, over.ended_at) == (AT, AT, AT)
    assert [r.wanted for r in (live, paused, again, over)] == [True, False, True, False]


def test_packets_of_a_stopped_stream_do_not_reopen_a_paused_room() -> None:
    assert room(RoomState.PAUSED).seen_live(AT).state is RoomState.PAUSED
    assert room(RoomState.PAUSED, wanted=True).seen_live(AT).state is RoomState.LIVE


def test_an_ended_room_neither_starts_nor_stops_nor_wakes() -> None:
    over = room(RoomState.ENDED)
    for act in (lambda: over.started(AT), over.stopped, over.require_open):
        with pytest.raises(RoomEnded):
            act()
    assert over.entered(AT) is over
    assert over.seen_live(AT) is over
    assert over.ended(AT) is over


def test_an_illegal_step_is_a_conflict() -> None:
    with pytest.raises(Conflict):
        room(RoomState.LIVE)._to(RoomState.PLANNED)


def test_eight_people_wear_eight_colours_and_the_ninth_the_rarest() -> None:
    worn: list[str] = []
    for _ in range(9):
        worn.append(pick_color(worn))
    assert set(worn[:8]) == set(COLORS)
    assert worn[8] == worn[0]
    assert pick_color(worn[1:8]) == worn[0]


def test_a_rate_refills_with_time_up_to_its_burst() -> None:
    rate = Rate(per_s=10, burst=2)
    assert [rate.take(0.0) for _ in range(3)] == [True, True, False]
    assert [rate.take(0.1), rate.take(0.1)] == [True, False]
    assert [rate.take(99.0) for _ in range(3)] == [True, True, False]


def pen(stroke_id: str, points: int) -> StrokeDraft:
    return StrokeDraft(
        stroke_id, "pen", "t", ((0.0, 0.0),) * points, FrameRef(track_id="t", rtp_timestamp=1), pinned=True
    )


def person(number: int) -> Participant:
    return Participant(f"seat-{number}", f"user-{number % 5}", "n", Role.OPERATOR, "#FFFFFF", AT)


def test_rs_20_one_person_cannot_fill_the_board_by_points_or_by_strokes_on_any_seat() -> None:
    by_points, by_strokes = Board(), Board()
    for number in range(5):
        by_points.add(pen(f"s{number}", 1000), person(0), AT)
        by_points.add(pen(f"z{number}", 1000), person(5), AT)  # the same user on another seat
    for change in (pen("more", 1), pen("s0", 1)):
        with pytest.raises(Exhausted):
            by_points.add(change, person(0), AT)
    by_points.add(pen("other", 1), person(1), AT)
    for number in range(100):
        by_strokes.add(pen(f"s{number}", 1), person(0), AT)
    with pytest.raises(Exhausted):
        by_strokes.add(pen("more", 1), person(0), AT)
    by_strokes.add(pen("s0", 1), person(0), AT)  # an extension is no new stroke
    by_strokes.add(pen("other", 1), person(1), AT)
    by_strokes.clear("seat-0")
    by_strokes.add(pen("again", 1), person(0), AT)


def test_rs_20_the_board_takes_20000_points_in_all() -> None:
    board = Board()
    for number in range(20):
        board.add(pen(f"s{number}", 1000), person(number % 4), AT)
    with pytest.raises(Exhausted):
        board.add(pen("more", 1), person(4), AT)


def test_a_persons_track_ids_carry_the_whole_subject_and_never_exceed_64_characters() -> None:
    assert personal_prefix("room", "somebody") == "room-somebody"
    long = [personal_prefix("r" * 50, f"{'u' * 40}{n}") for n in range(2)]
    assert len(set(long)) == 2
    assert all(len(f"{prefix}-h264") <= 64 for prefix in long)


@pytest.mark.parametrize(("rows", "bps"), [(120, 1_000_000), (720, 5_529_600), (1080, 8_000_000), (2160, 8_000_000)])
def test_an_encode_may_take_what_its_size_needs(rows: int, bps: int) -> None:
    assert bitrate_ceiling(rows) == bps


def test_an_error_budget_forgets_after_its_window() -> None:
    budget = ErrorBudget(limit=3, window_s=60)
    assert [budget.spend(at) for at in (0, 1, 61, 61.5, 62)] == [False, False, False, False, True]


def test_an_encode_from_before_our_start_that_nobody_wants_is_stopped_after_its_linger() -> None:
    second = SecondEncode(linger_s=30)
    assert second.must_ask(0, running=True) is False
    assert second.must_stop(29) is False
    assert second.must_stop(30) is True
    assert second.must_stop(99) is False


def test_somebody_who_comes_back_in_time_keeps_the_encode() -> None:
    second = SecondEncode(linger_s=30)
    second.need("a")
    assert second.must_ask(0, running=False) is True
    second.drop("a", 10)
    second.need("b")
    assert second.must_stop(100) is False


OFFER = """v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
m=audio 9 UDP/TLS/RTP/SAVPF 111 0
a=mid:a
a=sendrecv
a=rtpmap:111 opus/48000/2
a=rtpmap:0 PCMU/8000
m=video 9 UDP/TLS/RTP/SAVPF 98 97 96 99
a=mid:v
a=recvonly
a=rtpmap:96 VP8/90000
a=rtpmap:97 rtx/90000
a=rtpmap:98 H264/90000
a=fmtp:98 packetization-mode=0
a=rtpmap:99 H264/90000
a=fmtp:99 level-asymmetry-allowed=1;packetization-mode=1
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=mid:d
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_offer_is_read_as_far_as_a_room_needs(end: str) -> None:
    text = OFFER.replace("\n", end)
    assert media_lines(text) == [
        MediaLine("audio", "a", ("opus",), sends=True, receives=True),
        MediaLine("video", "v", ("vp8", "h264"), sends=False, receives=True),
        MediaLine("application", "d", (), sends=True, receives=True),
    ]
    assert connection_id(text) == "4611731400430051336"


@pytest.mark.parametrize(
    "text", ["", "m=", "m=video", "o=\nm=video 9 x\n", "\x00" * 100, "m=video 9 RTP 96\na=rtpmap:96"]
)
def test_nonsense_is_read_as_nothing(text: str) -> None:
    assert all(line.slots == () for line in media_lines(text))
    assert connection_id(text) == ""
