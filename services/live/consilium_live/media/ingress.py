"""The books of one received RTP stream: order, loss, jitter, what to ask for again, the publisher's clocks (RFC 3550 A)."""

from __future__ import annotations

from consilium_live.media.rtcp import ReportBlock, SenderInfo
from consilium_live.media.rtp import RtpHeader, extend

_MAX_MISSING = 256
_MAX_GAP = 512  # a larger jump is a new start, not a loss
_NACK_AGAIN_S = 0.06
_NACK_TRIES = 5


class Ingress:
    """One publisher's stream; extended sequence numbers start at the first packet's."""

    def __init__(self, ssrc: int, payload_type: int, clock_rate: int, feedback: frozenset[str]) -> None:
        self.ssrc = ssrc  # 0 until the first packet when the offer does not name it
        self.payload_type = payload_type
        self.feedback = feedback
        self.lost = 0
        self._clock_rate = clock_rate
        self._first: int | None = None
        self._highest = 0
        self._received = 0
        self._expected_before = 0
        self._received_before = 0
        self._jitter = 0.0
        self._transit: float | None = None
        self._missing: dict[int, tuple[float, int]] = {}  # extended sequence -> (asked at, tries)
        self._asked_now: list[int] = []
        self._clocks: SenderInfo | None = None
        self._clocks_at = 0.0

    def count(self, header: RtpHeader, now: float) -> int | None:
        """Book a packet and return its extended sequence number, None if it must not be forwarded."""
        if self._first is None:
            self._first = self._highest = header.sequence + 0x10000
            self._received = 1
            return self._first
        sequence = extend(header.sequence, self._highest)
        if sequence < self._first:
            return None
        self._received += 1
        if sequence > self._highest:
            if 1 < sequence - self._highest <= _MAX_GAP and "nack" in self.feedback:
                self._miss(range(self._highest + 1, sequence), now)
            self._highest = sequence
            self._measure(header.timestamp, now)
        else:
            self._missing.pop(sequence, None)
        return sequence

    def _miss(self, gap: range, now: float) -> None:
        for sequence in gap[-_MAX_MISSING:]:
            self._missing[sequence] = (now, 1)
            self._asked_now.append(sequence)
        while len(self._missing) > _MAX_MISSING:
            self._missing.pop(next(iter(self._missing)))

    def _measure(self, timestamp: int, now: float) -> None:
        transit = now * self._clock_rate - timestamp
        if self._transit is not None:
            distance = abs(transit - self._transit)
            if distance < self._clock_rate * 5:  # a jump of the timestamps is not jitter
                self._jitter += (distance - self._jitter) / 16
        self._transit = transit

    def take_nacks(self) -> list[int]:
        """Return the sequence numbers found missing since the last call (16 bits each)."""
        asked, self._asked_now = self._asked_now[-_MAX_MISSING:], []
        return [s & 0xFFFF for s in asked]

    def due_nacks(self, now: float) -> list[int]:
        """Return what to ask for again; gives up after a few tries."""
        due: list[int] = []
        for sequence, (at, tries) in list(self._missing.items()):
            if now - at < _NACK_AGAIN_S:
                continue
            if tries >= _NACK_TRIES:
                del self._missing[sequence]
                continue
            self._missing[sequence] = (now, tries + 1)
            due.append(sequence & 0xFFFF)
        return due

    def report(self, now: float) -> ReportBlock | None:
        """Return the reception report since the last one (RFC 3550 A.3)."""
        if self._first is None or self.ssrc == 0:
            return None
        expected = self._highest - self._first + 1
        interval, received = expected - self._expected_before, self._received - self._received_before
        self._expected_before, self._received_before = expected, self._received
        missing = interval - received
        fraction = (missing << 8) // interval if interval > 0 and missing > 0 else 0
        self.lost = max(0, expected - self._received)
        last_sr = delay = 0
        if self._clocks is not None:
            last_sr = (self._clocks.ntp >> 16) & 0xFFFFFFFF
            delay = int((now - self._clocks_at) * 65536) & 0xFFFFFFFF
        highest = (self._highest - 0x10000) & 0xFFFFFFFF
        return ReportBlock(
            self.ssrc, min(fraction, 255), highest, int(self._jitter), last_sr, delay, min(self.lost, 0x7FFFFF)
        )

    def heard(self, clocks: SenderInfo, now: float) -> None:
        """Take the clocks of a sender report."""
        self._clocks, self._clocks_at = clocks, now

    def clocks(self, clock_rate: int, now: float) -> SenderInfo | None:
        """Return the publisher's clocks at `now`, None before its first sender report."""
        if self._clocks is None:
            return None
        passed = now - self._clocks_at
        ntp = (self._clocks.ntp + int(passed * (1 << 32))) & 0xFFFFFFFFFFFFFFFF
        return SenderInfo(ntp, (self._clocks.rtp_timestamp + round(passed * clock_rate)) & 0xFFFFFFFF)
