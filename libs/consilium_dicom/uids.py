"""Transfer syntaxes and what follows from each (PS3.5 annex A, PS3.6 table A-1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydicom import uid as registry

Codec = Literal["native", "jpeg", "jpeg-lossless", "jpeg-ls", "jpeg2000", "htj2k", "rle", "jpeg-xl", "deflate", "video"]


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One transfer syntax: its codec, and the media type that WADO-RS names for its frames (PS3.18 8.7.3.3)."""

    uid: str
    name: str
    codec: Codec
    lossy: bool
    media_type: str

    @property
    def encapsulated(self) -> bool:
        """Tell whether pixel data lies in fragments."""
        return self.codec != "native"


def _entry(uid: registry.UID, codec: Codec, media_type: str, *, lossy: bool = False) -> tuple[str, TransferSyntax]:
    return str(uid), TransferSyntax(str(uid), uid.name, codec, lossy, media_type)


_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_OCTETS = "application/octet-stream"
TRANSFER_SYNTAXES: dict[str, TransferSyntax] = dict(
    [
        _entry(registry.ImplicitVRLittleEndian, "native", _OCTETS),
        _entry(registry.ExplicitVRLittleEndian, "native", _OCTETS),
        _entry(registry.DeflatedExplicitVRLittleEndian, "native", _OCTETS),
        _entry(registry.ExplicitVRBigEndian, "native", _OCTETS),
        _entry(registry.JPEGBaseline8Bit, "jpeg", "image/jpeg", lossy=True),
        _entry(registry.JPEGExtended12Bit, "jpeg", "image/jpeg", lossy=True),
        _entry(registry.UID("1.2.840.10008.1.2.4.53"), "jpeg", "image/jpeg", lossy=True),
        _entry(registry.UID("1.2.840.10008.1.2.4.55"), "jpeg", "image/jpeg", lossy=True),
        _entry(registry.JPEGLossless, "jpeg-lossless", "image/jpeg"),
        _entry(registry.JPEGLosslessSV1, "jpeg-lossless", "image/jpeg"),
        _entry(registry.JPEGLSLossless, "jpeg-ls", "image/jls"),
        _entry(registry.JPEGLSNearLossless, "jpeg-ls", "image/jls", lossy=True),
        _entry(registry.JPEG2000Lossless, "jpeg2000", "image/jp2"),
        _entry(registry.JPEG2000, "jpeg2000", "image/jp2", lossy=True),
        _entry(registry.UID("1.2.840.10008.1.2.4.92"), "jpeg2000", "image/jpx"),
        _entry(registry.UID("1.2.840.10008.1.2.4.93"), "jpeg2000", "image/jpx", lossy=True),
        _entry(registry.HTJ2KLossless, "htj2k", "image/jphc"),
        _entry(registry.HTJ2KLosslessRPCL, "htj2k", "image/jphc"),
        _entry(registry.HTJ2K, "htj2k", "image/jphc", lossy=True),
        _entry(registry.UID("1.2.840.10008.1.2.4.110"), "jpeg-xl", "image/jxl"),
        _entry(registry.UID("1.2.840.10008.1.2.4.111"), "jpeg-xl", "image/jxl", lossy=True),
        _entry(registry.UID("1.2.840.10008.1.2.4.112"), "jpeg-xl", "image/jxl", lossy=True),
        _entry(registry.RLELossless, "rle", "image/dicom-rle"),
        _entry(registry.UID("1.2.840.10008.1.2.8.1"), "deflate", _OCTETS),
        *(
            _entry(registry.UID(f"1.2.840.10008.1.2.4.{suffix}"), "video", "video/mpeg2", lossy=True)
            for suffix in ("100", "100.1", "101", "101.1")
        ),
        *(
            _entry(registry.UID(f"1.2.840.10008.1.2.4.{suffix}"), "video", "video/mp4", lossy=True)
            for suffix in (
                *("102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1", "106", "106.1"),
                *("107", "108"),
            )
        ),
    ]
)


def transfer_syntax(uid: str) -> TransferSyntax | None:
    """Return what is known of a transfer syntax, None if it is not one that this archive stores."""
    return TRANSFER_SYNTAXES.get(uid)


def is_valid_uid(uid: str) -> bool:
    """Tell whether a UID is well formed (PS3.5 9.1): at most 64 characters, numeric components, no leading zeros."""
    return len(uid) <= 64 and _UID.fullmatch(uid) is not None
