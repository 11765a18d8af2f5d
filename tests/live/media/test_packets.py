"""RTP and RTCP by struct: headers, keyframes, feedback; grouping for segmented sends; ingress books."""

from __future__ import annotations

import struct

import pytest
from aiortc.rtp import RtcpPacket, RtcpPsfbPacket, RtcpRrPacket, RtcpRtpfbPacket, RtcpSrPacket, unpack_remb_fci

from consilium_core.frame_ref import FrameStamp, sei_nal
from consilium_live.media import rtcp, rtp
from consilium_live.media.egress import Packet, in_groups
from consilium_live.media.ingress import Ingress


def header(sequence: int, timestamp: int = 0) -> rtp.RtpHeader:
    return rtp.RtpHeader(False, 96, sequence & 0xFFFF, timestamp, 1, 12, 20)


def test_header_with_csrc_extension_and_padding() -> None:
    packet = struct.pack("!BBHIII", 0xB1, 0xE0, 7, 9, 11, 13) + b"\xbe\xde\0\1\x10a\0\0" + b"payload" + b"\0\0\3"
    parsed = rtp.parse_header(packet)
    assert parsed is not None
    assert (parsed.marker, parsed.payload_type, parsed.sequence) == (True, 96, 7)
    assert packet[parsed.begin : parsed.end] == b"payload"
    assert rtp.one_byte_extension(packet, 1) == b"a"
    assert rtp.one_byte_extension(packet, 2) is None


@pytest.mark.parametrize(
    "bad", [b"", b"\x80" * 11, b"\x40" + bytes(20), b"\x90" + bytes(13), b"\xa0" + bytes(11) + b"\xff"]
)
def test_malformed_headers_are_refused(bad: bytes) -> None:
    assert rtp.parse_header(bad) is None


def test_keyframes_are_recognised() -> None:
    sps, idr, other = b"\x67\x42\xe0\x1f", b"\x65\x88", b"\x41\x9a"
    stap = b"\x78" + b"".join(struct.pack("!H", len(n)) + n for n in (sps, b"\x68\xce"))
    assert rtp.h264_is_key(sps)
    assert rtp.h264_is_key(idr)
    assert rtp.h264_is_key(stap)
    assert rtp.h264_is_key(b"\x7c\x85rest")
    for payload in (other, b"\x7c\x05rest", b"\x7c\x81rest", b"", b"\x78\0\x09short"):
        assert not rtp.h264_is_key(payload)
    assert rtp.vp8_is_key(b"\x10\x00")
    assert rtp.vp8_is_key(b"\x90\x80\x80\x01\x00")
    assert not rtp.vp8_is_key(b"\x10\x01")
    assert not rtp.vp8_is_key(b"\x00\x00")
    assert not rtp.vp8_is_key(b"\x90\x80")


def test_a_stamp_is_found_beside_parameter_sets() -> None:
    nal = sei_nal(FrameStamp(1, 2, 3))
    stap = b"\x78" + b"".join(struct.pack("!H", len(n)) + n for n in (b"\x67\x42\xe0\x1f", nal))
    assert rtp.h264_may_hold_headers(stap)
    assert nal in list(rtp.h264_nals(stap))


def test_feedback_is_what_aiortc_reads() -> None:
    clocks = rtcp.SenderInfo(0x0102030405060708, 4000)
    report = rtcp.ReportBlock(9, 12, 70000, 5, 1, 2, 33)
    compound = (
        rtcp.write_sr(1, clocks, 10, 20)
        + rtcp.write_sdes(1, "name")
        + rtcp.write_rr(2, [report])
        + rtcp.write_nack(2, 9, [5, 6, 21, 22, 65535])
        + rtcp.write_pli(2, 9)
        + rtcp.write_remb(2, 6_000_000, [9, 10])
    )
    sender, _, receiver, nack, pli, remb = RtcpPacket.parse(compound)
    assert isinstance(sender, RtcpSrPacket)
    assert (sender.sender_info.ntp_timestamp, sender.sender_info.rtp_timestamp) == (clocks.ntp, 4000)
    assert isinstance(receiver, RtcpRrPacket)
    assert (receiver.reports[0].fraction_lost, receiver.reports[0].packets_lost) == (12, 33)
    assert isinstance(nack, RtcpRtpfbPacket)
    assert nack.lost == [5, 6, 21, 22, 65535]
    assert isinstance(pli, RtcpPsfbPacket)
    assert isinstance(remb, RtcpPsfbPacket)
    bitrate, ssrcs = unpack_remb_fci(remb.fci)
    assert (bitrate, ssrcs) == (pytest.approx(6_000_000, rel=0.001), [9, 10])


def test_feedback_that_aiortc_writes_is_read() -> None:
    written = bytes(RtcpRtpfbPacket(fmt=1, ssrc=3, media_ssrc=4, lost=[1, 2, 3, 40, 65530]))
    block = next(rtcp.blocks(written))
    assert (block.kind, block.fmt, rtcp.media_ssrc(block.body)) == (rtcp.RTPFB, 1, 4)
    assert sorted(rtcp.nacked(block.body)) == [1, 2, 3, 40, 65530]
    fir = next(rtcp.blocks(rtcp.write_fir(3, 77, 1)))
    assert list(rtcp.fir_ssrcs(fir.body)) == [77]
    assert list(rtcp.blocks(b"\x81\xcd\xff\xff" + bytes(20))) == []


def test_groups_are_equal_but_for_the_last_and_never_pad_twice() -> None:
    def packet(number: int, size: int) -> Packet:
        return Packet(number, 0x80, 0, 0, bytes(size))

    sizes = [30, 1200, 1199, 1170, 400, 1200, 1200]
    runs = in_groups([packet(n, s) for n, s in enumerate(sizes)])
    assert [[p.number for p in run] for run in runs] == [[0], [1, 2, 3, 4], [5, 6]]
    for run in runs:
        assert len({len(p.payload) for p in run[:-1]}) <= 1
        assert all(len(p.payload) <= len(run[0].payload) for p in run)
    assert runs[1][2].first == 0xA0
    assert runs[1][2].payload[-1] == 30
    again = in_groups([p for run in runs for p in run], padding=0)
    assert [p for run in again for p in run] == [p for run in runs for p in run]


def test_sequence_numbers_extend_over_the_wrap_and_gaps_are_asked_for() -> None:
    ingress = Ingress(1, 96, 90000, frozenset({"nack"}))
    assert ingress.count(header(65534), 0.0) == 65534 + 65536
    assert ingress.count(header(1), 0.0) == 65536 + 65537
    assert ingress.take_nacks() == [65535, 0]
    assert ingress.take_nacks() == []
    assert ingress.count(header(0), 0.01) == 65536 * 2
    assert ingress.due_nacks(0.1) == [65535]
    assert ingress.count(header(65000), 0.1) is None, "older than the first packet"
    for step in range(2, 12):
        ingress.due_nacks(step / 10)
    assert ingress.due_nacks(9.0) == [], "gives up"
    report = ingress.report(1.0)
    assert report is not None
    assert (report.highest, report.lost) == (65537, 1)
