"""How the frames of one instance go to a client: as stored, decoded, in parts or alone (PS3.18 8.7.3.3, 10.4)."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from consilium_dicom.encode import HTJ2K, HTJ2K_RPCL, JPEG_2000, JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LS, RLE
from consilium_dicom.scan import EXPLICIT_LE
from consilium_dicom.uids import transfer_syntax
from consilium_imaging.negotiate import Range, covers, ranges, refuse

OCTETS = "application/octet-stream"
_PLAIN = frozenset({"1.2.840.10008.1.2", EXPLICIT_LE, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})
_LITTLE = frozenset({"1.2.840.10008.1.2", EXPLICIT_LE, "1.2.840.10008.1.2.1.99"})


_MADE: dict[str, tuple[str, ...]] = {
    "image/jpeg": (JPEG_LOSSLESS, JPEG_BASELINE),
    "image/jls": (JPEG_LS,),
    "image/jp2": (JPEG_2000,),
    "image/jphc": (HTJ2K, HTJ2K_RPCL),
    "image/dicom-rle": (RLE,),
}
"""What can be made for each media type; the first is its default (table 8.7.3-5)."""


@dataclass(frozen=True, slots=True)
class FrameForm:
    """The chosen form: media type of a frame, its transfer syntax, made anew or as stored, multipart or alone."""

    media: str
    transfer_syntax_uid: str
    made: bool
    parts: bool

    @property
    def content_type(self) -> str:
        """Return the content type of one frame."""
        return f"{self.media}; transfer-syntax={self.transfer_syntax_uid}"


def choose_form(request: Request, stored_uid: str, frames: int, *, lossy: bool) -> FrameForm:
    """Return the first acceptable form; raise NotAcceptable naming what is on offer."""
    known = transfer_syntax(stored_uid)
    stored_media = known.media_type if known else OCTETS
    for one in ranges(request):
        form = _form(one, stored_uid, stored_media, frames) or _made(one, frames, lossy=lossy)
        if form is not None:
            return form
    raise refuse(request, offers(stored_uid))


def offers(stored_uid: str) -> list[str]:
    """Return what a frame of the stored transfer syntax can be had as, the stored form first."""
    known = transfer_syntax(stored_uid)
    pairs = [(known.media_type if known else OCTETS, stored_uid), (OCTETS, EXPLICIT_LE)]
    pairs += [(media, syntaxes[0]) for media, syntaxes in _MADE.items()]
    return list(dict.fromkeys(f'multipart/related; type="{media}"; transfer-syntax={uid}' for media, uid in pairs))


def _made(one: Range, frames: int, *, lossy: bool) -> FrameForm | None:
    parts = one.media == "multipart/related"
    media = one.multipart_type if parts else one.media
    syntaxes = _MADE.get(media, ())
    wanted = one.transfer_syntax or next(iter(syntaxes), "")
    if wanted not in syntaxes or (frames != 1 and not parts) or (wanted == JPEG_BASELINE and not lossy):
        return None
    return FrameForm(media, wanted, made=True, parts=parts)


def _form(one: Range, stored_uid: str, stored_media: str, frames: int) -> FrameForm | None:
    parts = one.media in ("multipart/related", "multipart/*", "*/*")
    wanted = one.multipart_type or ("*/*" if parts else one.media)
    syntax = one.transfer_syntax
    if not parts and frames != 1:
        return None
    if stored_uid in _LITTLE:
        if covers(wanted, OCTETS) and syntax in ("", "*", stored_uid, EXPLICIT_LE):
            return FrameForm(OCTETS, EXPLICIT_LE, made=False, parts=parts)
        return None
    if stored_uid not in _PLAIN:
        if covers(wanted, stored_media) and syntax in ("", "*", stored_uid):
            return FrameForm(stored_media, stored_uid, made=False, parts=parts)
        if covers(wanted, OCTETS) and syntax in ("*", stored_uid):
            return FrameForm(OCTETS, stored_uid, made=False, parts=parts)
    if covers(wanted, OCTETS) and syntax in ("", "*", EXPLICIT_LE):
        return FrameForm(OCTETS, EXPLICIT_LE, made=True, parts=parts)
    return None
