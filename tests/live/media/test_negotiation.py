"""Which codec and which m-line: decided without a socket."""

from __future__ import annotations

from typing import Any

import pytest

from consilium_live.media.codecs import choose_egress, choose_ingress
from consilium_live.media.dtls import DtlsIdentity
from consilium_live.media.negotiation import assign
from consilium_live.media.sdp import AnsweredMedia, Transport, parse_offer, write_answer
from consilium_live.ports import Codec

IDENTITY = DtlsIdentity()


def offered(*codecs: tuple[int, str, str], direction: str = "recvonly", kinds: tuple[str, ...] = ("video",)) -> Any:
    """Return a parsed offer with the same codecs on an m-line per kind."""
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    lines.append("a=group:BUNDLE " + " ".join(str(n) for n in range(len(kinds))))
    for number, kind in enumerate(kinds):
        lines += [
            f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(str(c[0]) for c in codecs)}",
            f"a=mid:{number}",
            f"a={direction}",
            "a=ice-ufrag:abcd",
            "a=ice-pwd:" + "p" * 22,
            f"a=fingerprint:sha-256 {IDENTITY.fingerprint.value}",
            "a=setup:actpass",
        ]
        for payload_type, name, fmtp in codecs:
            lines.append(f"a=rtpmap:{payload_type} {name}/{48000 if kind == 'audio' else 90000}")
            if fmtp:
                lines.append(f"a=fmtp:{payload_type} {fmtp}")
    return parse_offer("\r\n".join(lines) + "\r\n")


H264 = "level-asymmetry-allowed=1;packetization-mode={};profile-level-id={}"
MANY = (
    (96, "VP8", ""),
    (102, "H264", H264.format(1, "42001f")),
    (104, "H264", H264.format(0, "42e01f")),
    (106, "H264", H264.format(1, "64001f")),
    (107, "rtx", "apt=106"),
)


@pytest.mark.parametrize(
    ("profile", "payload_type"),
    [("42e01f", 102), ("42E033".lower(), 102), ("640033", 106), ("4d0028", 102)],
)
def test_a_viewers_h264_is_chosen_by_profile_not_by_level(profile: str, payload_type: int) -> None:
    chosen = choose_egress(offered(*MANY).media[0], Codec("H264", 90000, profile=profile))
    assert chosen is not None
    assert chosen.payload_type == payload_type


def test_h264_of_mode_0_alone_carries_nothing() -> None:
    media = offered((104, "H264", H264.format(0, "42e01f"))).media[0]
    assert choose_egress(media, Codec("H264", 90000, profile="42e01f")) is None


def test_rtx_belongs_to_its_codec() -> None:
    by_type = {c.payload_type: c.rtx for c in offered(*MANY).media[0].codecs}
    assert by_type[106] == 107
    assert by_type[102] is None


def test_a_publisher_gets_its_own_first_choice() -> None:
    first = choose_ingress(offered(*MANY, direction="sendonly").media[0])
    assert first is not None
    assert first.name == "VP8"
    single = choose_ingress(offered((45, "AV1", ""), *MANY[1:3], direction="sendonly").media[0])
    assert single is not None
    assert single.payload_type == 102
    assert choose_ingress(offered((45, "AV1", ""), direction="sendonly").media[0]) is None


def test_wanted_tracks_keep_the_lines_they_have() -> None:
    offer = offered((96, "VP8", ""), kinds=("video", "video", "video"))
    placed = assign(offer, ["a", "b", "c"], {"1": "a"}, {})
    assert placed == {"1": "a", "0": "b", "2": "c"}
    assert assign(offer, ["b"], {"1": "a", "2": "b"}, {}) == {"2": "b"}
    assert assign(offer, {"2": "x"}, {"1": "a"}, {}) == {"2": "x"}


def test_the_answer_keeps_the_order_and_names_only_what_is_offered() -> None:
    offer = offered(*MANY, kinds=("video", "video"))
    lines = [AnsweredMedia(m, codecs=[m.codecs[0]]) for m in offer.media]
    lines[1].sends, lines[1].ssrc, lines[1].cname, lines[1].stream_id = True, 5, "c", "s"
    lines[1].codecs, lines[1].with_rtx, lines[1].rtx_ssrc = [offer.media[1].codecs[3]], True, 6
    transport = Transport("u", "p", IDENTITY.fingerprint, ("192.0.2.1", "2001:db8::1"), 4000)
    answer = write_answer(3, lines, transport)
    first, second = answer.split("m=")[1:]
    assert "a=inactive" in first
    assert second.startswith("video 9 UDP/TLS/RTP/SAVPF 106 107\r\n")
    assert "a=sendonly\r\n" in second
    assert "a=fmtp:107 apt=106\r\n" in second
    assert "a=ssrc-group:FID 5 6\r\n" in second
    assert answer.count(" typ host") == 4
    assert "a=group:BUNDLE 0 1\r\na=msid-semantic:WMS *\r\na=ice-lite\r\n" in answer
