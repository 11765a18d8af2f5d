"""RTCP by `struct`: what a forwarder reads and writes (RFC 3550 6.4, RFC 4585, RFC 5104, draft-alvestrand-rmcat-remb)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SR, RR, SDES, BYE, RTPFB, PSFB = 200, 201, 202, 203, 205, 206
NACK_FMT, PLI_FMT, FIR_FMT, REMB_FMT = 1, 1, 4, 15

NTP_EPOCH_S = 2208988800  # 1900-01-01 to 1970-01-01


class Block(NamedTuple):
    """One packet of a compound: count or format, packet type, sender's SSRC and what follows it."""

    fmt: int
    kind: int
    ssrc: int
    body: bytes


class SenderInfo(NamedTuple):
    """The clocks in a sender report: NTP time as 64 bits (32.32 seconds) and the RTP timestamp of the same instant."""

    ntp: int
    rtp_timestamp: int


class ReportBlock(NamedTuple):
    """One reception report (RFC 3550 6.4.1); `fraction_lost` in 1/256, `jitter` in RTP ticks."""

    ssrc: int
    fraction_lost: int
    highest: int
    jitter: int
    last_sr: int = 0
    delay: int = 0
    lost: int = 0


def blocks(compound: bytes) -> Iterator[Block]:
    """Yield the packets of a compound; stops at the first that does not fit."""
    at = 0
    while at + 8 <= len(compound):
        first, kind, words, ssrc = struct.unpack_from("!BBHI", compound, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or words < 1 or end > len(compound):
            return
        stop = end - compound[end - 1] if first & 0x20 else end
        yield Block(first & 31, kind, ssrc, compound[at + 8 : max(stop, at + 8)])
        at = end


def sender_info(body: bytes) -> SenderInfo | None:
    """Return the clocks of a sender report's body."""
    return SenderInfo(*struct.unpack_from("!QI", body)) if len(body) >= 20 else None


def report_blocks(block: Block) -> Iterator[ReportBlock]:
    """Yield the reception reports of an SR or RR."""
    at = 20 if block.kind == SR else 0
    for _ in range(block.fmt):
        if at + 24 > len(block.body):
            return
        ssrc, loss, highest, jitter, last_sr, delay = struct.unpack_from("!IIIIII", block.body, at)
        yield ReportBlock(ssrc, loss >> 24, highest, jitter, last_sr, delay, loss & 0xFFFFFF)
        at += 24


def nacked(body: bytes) -> Iterator[int]:
    """Yield the sequence numbers of a generic NACK's FCI (after the media SSRC), RFC 4585 6.2.1."""
    for at in range(4, len(body) - 3, 4):
        pid, mask = struct.unpack_from("!HH", body, at)
        yield pid
        bit = 1
        while mask:
            if mask & 1:
                yield (pid + bit) & 0xFFFF
            mask >>= 1
            bit += 1


def media_ssrc(body: bytes) -> int:
    """Return the media source SSRC of a feedback packet, 0 if there is none."""
    return int.from_bytes(body[:4], "big") if len(body) >= 4 else 0


def fir_ssrcs(body: bytes) -> Iterator[int]:
    """Yield the SSRCs that a full intra request names (RFC 5104 4.3.1)."""
    for at in range(4, len(body) - 7, 8):
        yield int.from_bytes(body[at : at + 4], "big")


def _packet(count: int, kind: int, rest: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(rest) // 4) + rest


def write_sr(ssrc: int, clocks: SenderInfo, packets: int, octets: int) -> bytes:
    """Return a sender report without reception reports."""
    head = struct.pack("!IQI", ssrc, clocks.ntp, clocks.rtp_timestamp & 0xFFFFFFFF)
    return _packet(0, SR, head + struct.pack("!II", packets & 0xFFFFFFFF, octets & 0xFFFFFFFF))


def write_rr(ssrc: int, reports: Iterable[ReportBlock]) -> bytes:
    """Return a receiver report; at most 31 reports."""
    rest, count = struct.pack("!I", ssrc), 0
    for report in list(reports)[:31]:
        loss = (report.fraction_lost << 24) | (report.lost & 0xFFFFFF)
        rest += struct.pack("!IIIIII", report.ssrc, loss, report.highest, report.jitter, report.last_sr, report.delay)
        count += 1
    return _packet(count, RR, rest)


def write_sdes(ssrc: int, cname: str) -> bytes:
    """Return a source description with a CNAME (RFC 3550 6.5.1)."""
    text = cname.encode()[:255]
    chunk = struct.pack("!IBB", ssrc, 1, len(text)) + text + b"\0"
    return _packet(1, SDES, chunk + bytes(-len(chunk) % 4))


def write_bye(ssrc: int) -> bytes:
    """Return a BYE."""
    return _packet(1, BYE, struct.pack("!I", ssrc))


def write_pli(sender: int, media: int) -> bytes:
    """Return a picture loss indication (RFC 4585 6.3.1)."""
    return _packet(PLI_FMT, PSFB, struct.pack("!II", sender, media))


def write_fir(sender: int, media: int, number: int) -> bytes:
    """Return a full intra request (RFC 5104 4.3.1)."""
    return _packet(FIR_FMT, PSFB, struct.pack("!IIIB3x", sender, 0, media, number & 255))


def write_nack(sender: int, media: int, sequences: Iterable[int]) -> bytes:
    """Return one generic NACK for the given sequence numbers, in ascending order modulo wrap."""
    rest = struct.pack("!II", sender, media)
    pid: int | None = None
    mask = 0
    for sequence in sequences:
        distance = 0 if pid is None else (sequence - pid) & 0xFFFF
        if pid is not None and 1 <= distance <= 16:
            mask |= 1 << (distance - 1)
            continue
        if pid is not None:
            rest += struct.pack("!HH", pid, mask)
        pid, mask = sequence & 0xFFFF, 0
    if pid is not None:
        rest += struct.pack("!HH", pid, mask)
    return _packet(NACK_FMT, RTPFB, rest)


def write_remb(sender: int, bitrate_bps: int, ssrcs: Iterable[int]) -> bytes:
    """Return a receiver estimated maximum bitrate."""
    sources = list(ssrcs)[:255]
    exponent = max(0, bitrate_bps.bit_length() - 18)
    rate = (len(sources) << 24) | (exponent << 18) | (bitrate_bps >> exponent)
    rest = struct.pack("!II4sI", sender, 0, b"REMB", rate) + b"".join(s.to_bytes(4, "big") for s in sources)
    return _packet(REMB_FMT, PSFB, rest)
