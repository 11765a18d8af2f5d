"""One published track: what came in, what is still in its history, and where its viewers stand (RFC 3550, RFC 4585).

`receive` takes plain packets from the publisher's session; complete pictures go out through the fan-out. The sequence
numbers that viewers see go on when a publisher is replaced, RTP timestamps are never touched.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from consilium_core.frame_ref import FrameStamp, parse_sei_nal
from consilium_live.media import picture, rtp
from consilium_live.media.egress import Fanout, Group, Packet, in_groups
from consilium_live.media.ingress import Ingress
from consilium_live.media.rtcp import SenderInfo
from consilium_live.media.sink import Sink, SinkState
from consilium_live.media.wires import Wires
from consilium_live.ports import Codec, MediaKind, TrackFacts, TrackState

if TYPE_CHECKING:
    from consilium_live.media.session import Session

_BATCH_PACKETS = 40
_BATCH_S = 0.008
_REPLAY_STEP = 64
_REPLAY_PAUSE_S = 0.005
_AUDIO_HISTORY = 64
_KEYFRAME_PATIENCE_S = 4.0  # a first publisher's stream that has never shown a keyframe is then sent as it is


class Track:
    """Owned by the plane; lives on its event loop."""

    def __init__(
        self,
        track_id: str,
        codec: Codec,
        room_id: str,
        wires: Wires,
        on_frame: Callable[[Track, int, FrameStamp], None],
        on_first: Callable[[Track], None],
        on_size: Callable[[Track], None],
    ) -> None:
        self.track_id = track_id
        self.codec = codec
        self.kind: MediaKind = "audio" if codec.name == "opus" else "video"
        self.room_id = room_id
        self.ssrc = secrets.randbits(31) | 1
        self.rtx_ssrc = secrets.randbits(31) | 1
        self.cname = secrets.token_hex(8)
        self.stream_id = ""
        self.mid = ""
        self.publisher: Session | None = None
        self.publisher_id = ""
        self.ingress: Ingress | None = None
        self.state = TrackState.WAITING
        self.packets = self.bytes = self.keyframes = 0
        self.size: picture.Size | None = None  # of the newest keyframe; kept over a change of the publisher
        self.last_packet_at: float | None = None
        self.last_keyframe_at: float | None = None
        self.sinks: list[Sink] = []
        self._settings = wires.settings
        self._endpoint = wires.endpoint
        self._stats = wires.stats
        self._on_frame = on_frame
        self._on_first = on_first
        self._on_size = on_size
        self._is_key = {"H264": rtp.h264_is_key, "VP8": rtp.vp8_is_key}.get(codec.name)
        size = wires.settings.history_packets if self.kind == "video" else _AUDIO_HISTORY
        self._mask = size - 1
        self._replay_max = min(wires.settings.replay_max_packets, size - size // 8)
        self._history: list[Packet | None] = [None] * size
        self._fanout = Fanout(wires.endpoint)
        self._live: dict[Group, list[Sink]] = {}
        self._batch: list[Packet] = []
        self._timer: asyncio.TimerHandle | None = None
        self._replay_timer: asyncio.TimerHandle | None = None
        self._highest: int | None = None  # of what was put into the history
        self._frame_timestamp = -1
        self._frame_start = 0
        self._frame_is_key = False
        self._frame_stamp: FrameStamp | None = None
        self._entry: int | None = None  # index where the newest group of pictures begins
        self._offset: int | None = None  # what is added to the ingress's extended sequence numbers
        self._first_at: float | None = None  # the publisher's first packet
        self._rebound = False  # another publisher's picture went before: only a keyframe may follow it
        self._pli_at = float("-inf")
        self._pli_wanted = False

    # --- the publisher's side ---

    def bind(self, publisher: Session, session_id: str, mid: str, ingress: Ingress) -> None:
        """Take packets from this publisher from now on; viewers go on at its next keyframe."""
        again = self.ingress is not None
        self._flush()
        self.publisher, self.publisher_id, self.mid, self.ingress = publisher, session_id, mid, ingress
        self._offset = self._entry = self._first_at = None
        self._frame_timestamp = -1
        if again:
            self._rebound = True
            self._rejoin()
            self.state = TrackState.WAITING

    def _rejoin(self) -> None:
        for sink in self.sinks:
            if sink.state is not SinkState.IDLE and self.kind == "video":
                sink.state = SinkState.WAITING
        self._regroup()

    def receive(self, packet: bytes, header: rtp.RtpHeader, now: float) -> None:
        """Take one plain packet of the publisher."""
        ingress = self.ingress
        if ingress is None:
            return
        sequence = ingress.count(header, now)
        if sequence is None:
            return
        if self._offset is None:
            self._offset = 0 if self._highest is None else self._highest + 1 - sequence
            self._first_at = now
        index = sequence + self._offset
        payload = packet[header.begin : header.end]
        self.packets += 1
        self.bytes += len(packet)
        self.last_packet_at = now
        if self.state is not TrackState.LIVE:
            self._on_first(self)
        forwarded = Packet(index, 0x80, 0x80 if header.marker else 0, header.timestamp, payload)
        if self._highest is not None and index <= self._highest:
            self._forward([forwarded])  # late or repaired: at once and alone
            return
        if self.kind == "audio":
            self._forward([forwarded])
            return
        self._inspect(forwarded, now)
        self._batch.append(forwarded)
        if header.marker or len(self._batch) >= _BATCH_PACKETS:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_BATCH_S, self._flush)

    def _inspect(self, packet: Packet, now: float) -> None:
        """Note keyframes, where to enter, and the site's frame stamps."""
        if packet.timestamp != self._frame_timestamp:
            self._frame_timestamp = packet.timestamp
            self._frame_start = packet.number
            self._frame_is_key = False
            self._frame_stamp = None
        payload, stamped = packet.payload, self._frame_stamp is not None
        if self.codec.name == "H264" and rtp.h264_may_hold_headers(payload):
            self._read_headers(payload)
        was_key = self._frame_is_key
        if not was_key and self._is_key is not None and self._is_key(payload):
            self._frame_is_key = True
            if self.codec.name == "VP8":
                self._measure(picture.vp8_size(payload))
            self.keyframes += 1
            self.last_keyframe_at = now
            self._entry = self._frame_start
            self._pli_wanted = False
        # RS-16: once per RTP timestamp, and only of a keyframe; the stamp comes before or after what makes it one
        if self._frame_stamp is not None and self._frame_is_key and not (was_key and stamped):
            self._on_frame(self, packet.timestamp, self._frame_stamp)

    def _read_headers(self, payload: bytes) -> None:
        """Take the site's stamp and the picture's size from the NAL units before the slices."""
        for nal in rtp.h264_nals(payload):
            self._measure(picture.h264_size(nal))
            if self._frame_stamp is None:
                self._frame_stamp = parse_sei_nal(nal)

    def _measure(self, size: picture.Size | None) -> None:
        if size is not None and size != self.size:
            self.size = size
            self._on_size(self)

    def end(self) -> None:
        """The publisher has gone; sinks stay for a successor, the history (megabytes) does not."""
        self._flush()
        self._history = [None] * len(self._history)
        self.publisher = None
        self.state = TrackState.ENDED
        self._entry = None

    # --- the way out ---

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._batch = self._batch, []
        if batch:
            self._forward(batch)

    def _forward(self, batch: list[Packet]) -> None:
        runs = in_groups(batch)
        history, mask = self._history, self._mask
        for run in runs:
            for packet in run:
                history[packet.number & mask] = packet
        top = max(packet.number for packet in batch)
        if self._highest is None or top > self._highest:
            self._highest = top
        self._fanout.send(runs, self._live)
        if self._entry is not None:
            self._admit()

    def _admit(self) -> None:
        """Let viewers that wait for a keyframe enter at the newest one."""
        entry, changed = self._entry, False
        for sink in self.sinks:
            if sink.state is SinkState.WAITING and entry is not None and sink.floor < entry <= (self._highest or 0):
                sink.state, sink.cursor, changed = SinkState.REPLAYING, entry, True
        if changed:
            self._replay()

    def _replay(self) -> None:
        """Send the next packets of the history to everyone who is catching up."""
        self._replay_timer = None
        again = False
        for sink in self.sinks:
            if sink.state is not SinkState.REPLAYING:
                continue
            packets = list(self._from_history(sink.cursor, _REPLAY_STEP))
            sink.cursor += _REPLAY_STEP
            self._stats.replayed_packets += len(packets)
            self._fanout.send(in_groups(packets, padding=0), {(sink.payload_type, sink.ssrc): [sink]})
            if sink.cursor > (self._highest or 0):
                sink.state = SinkState.LIVE
            else:
                again = True
        self._regroup()
        if again:
            self._replay_timer = asyncio.get_running_loop().call_later(_REPLAY_PAUSE_S, self._replay)

    def _from_history(self, start: int, count: int) -> Iterable[Packet]:
        top = self._highest if self._highest is not None else -1
        for index in range(start, min(start + count, top + 1)):
            packet = self._history[index & self._mask]
            if packet is not None and packet.number == index:
                yield packet

    # --- the viewers' side ---

    def attach(self, sink: Sink, now: float) -> None:
        """Start a connected sink: at the newest keyframe if it is near, else at the next one."""
        if sink not in self.sinks:
            self.sinks.append(sink)
        if self.kind == "audio":
            sink.state = SinkState.LIVE
            self._regroup()
            return
        sink.state, sink.waiting_since = SinkState.WAITING, now
        at, top = self.last_keyframe_at, self._highest
        fresh = at is not None and now - at <= self._settings.replay_max_s
        whole = self._entry is not None and top is not None and top - self._entry < self._replay_max
        if not (fresh and whole):
            self._entry = None  # too far back to enter for anybody
        self._admit()
        if sink.state is SinkState.WAITING:
            self.want_keyframe(now)

    def detach(self, sink: Sink) -> None:
        """Forget a sink; idempotent."""
        if sink in self.sinks:
            self.sinks.remove(sink)
            sink.state = SinkState.IDLE
            self._regroup()

    @property
    def top(self) -> int:
        """Return the highest packet number so far, -1 before the first."""
        return self._highest if self._highest is not None else -1

    def _regroup(self) -> None:
        self._live = {}
        for sink in self.sinks:
            if sink.state is SinkState.LIVE:
                self._live.setdefault((sink.payload_type, sink.ssrc), []).append(sink)

    def repair(self, sink: Sink, sequences: Iterable[int], now: float) -> None:
        """Answer a NACK from the history; what has left it is not answered."""
        if self._highest is None:
            return
        for sequence in sequences:
            self._stats.nacks += 1
            index = rtp.extend(sequence, self._highest)
            packet = self._history[index & self._mask]
            if packet is None or packet.number != index:
                continue
            if not sink.repair(self._endpoint, packet, now):
                return

    def want_keyframe(self, now: float) -> None:
        """Ask the publisher for a keyframe, at most once per `keyframe_interval_s`; later asks are remembered."""
        if self.kind != "video" or self.publisher is None:
            return
        if now - self._pli_at < self._settings.keyframe_interval_s:
            self._pli_wanted = True
            return
        self._pli_wanted = False
        if self.publisher.ask_keyframe(self):
            self._pli_at = now
            self._stats.plis_sent += 1
        else:
            self._pli_wanted = True

    def tick(self, now: float) -> None:
        """Repeat what was not answered: wanted keyframes, viewers that wait too long."""
        waiting = [s for s in self.sinks if s.state is SinkState.WAITING]
        if self._pli_wanted or (waiting and now - self._pli_at >= 2 * self._settings.keyframe_interval_s):
            self.want_keyframe(now)
        if self._rebound or self.keyframes or self._first_at is None or self.state is not TrackState.LIVE:
            return  # this publisher has keyframes to wait for, or follows one whose picture its deltas would smear
        for sink in waiting:
            if now - max(sink.waiting_since, self._first_at) > _KEYFRAME_PATIENCE_S:
                sink.state = SinkState.LIVE
                self._regroup()

    def sender_info(self, now: float) -> SenderInfo | None:
        """Return the publisher's clocks carried forward to now, for the viewers' sender reports."""
        return self.ingress.clocks(self.codec.clock_rate, now) if self.ingress is not None else None

    def close(self) -> None:
        """Cancel the timers."""
        for timer in (self._timer, self._replay_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._replay_timer = None
        self._batch.clear()

    def facts(self) -> TrackFacts:
        """Return a snapshot."""
        return TrackFacts(
            track_id=self.track_id,
            kind=self.kind,
            codec=self.codec,
            room_id=self.room_id,
            session_id=self.publisher_id,
            mid=self.mid,
            state=self.state,
            packets=self.packets,
            bytes=self.bytes,
            keyframes=self.keyframes,
            lost=self.ingress.lost if self.ingress is not None else 0,
            viewers=len(self.sinks),
            last_packet_at=self.last_packet_at,
            last_keyframe_at=self.last_keyframe_at,
            size=self.size,
        )
