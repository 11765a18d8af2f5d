"""How the frames of one instance go to a client: as stored, decoded, in parts or alone (PS3.18 8.7.3.3, 10.4)."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from consilium_dicom.uids import transfer_syntax
from consilium_imaging.negotiate import Range, covers, ranges, refuse

OCTETS = "application/octet-stream"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
_PLAIN = frozenset({"1.2.840.10008.1.2", EXPLICIT_LE, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})
_LITTLE = frozenset({"1.2.840.10008.1.2", EXPLICIT_LE, "1.2.840.10008.1.2.1.99"})


@dataclass(frozen=True, slots=True)
class FrameForm:
    """The chosen form: media type of a frame, its transfer syntax, decoded or as stored, multipart or alone."""

    media: str
    transfer_syntax_uid: str
    decoded: bool
    parts: bool

    @property
    def content_type(self) -> str:
        """Return the content type of one frame."""
        return f"{self.media}; transfer-syntax={self.transfer_syntax_uid}"


def choose_form(request: Request, stored_uid: str, frames: int) -> FrameForm:
    """Return the first acceptable form; raise NotAcceptable naming what is on offer."""
    known = transfer_syntax(stored_uid)
    stored_media = known.media_type if known else OCTETS
    for one in ranges(request):
        form = _form(one, stored_uid, stored_media, frames)
        if form is not None:
            return form
    offered = [f'multipart/related; type="{stored_media}"; transfer-syntax={stored_uid}']
    if stored_uid not in _LITTLE:
        offered.append(f'multipart/related; type="{OCTETS}"; transfer-syntax={EXPLICIT_LE}')
    raise refuse(request, offered)


def _form(one: Range, stored_uid: str, stored_media: str, frames: int) -> FrameForm | None:
    parts = one.media in ("multipart/related", "multipart/*", "*/*")
    wanted = one.multipart_type or ("*/*" if parts else one.media)
    syntax = one.transfer_syntax
    if not parts and frames != 1:
        return None
    if stored_uid in _LITTLE:
        if covers(wanted, OCTETS) and syntax in ("", "*", stored_uid, EXPLICIT_LE):
            return FrameForm(OCTETS, EXPLICIT_LE, decoded=False, parts=parts)
        return None
    if stored_uid not in _PLAIN:
        if covers(wanted, stored_media) and syntax in ("", "*", stored_uid):
            return FrameForm(stored_media, stored_uid, decoded=False, parts=parts)
        if covers(wanted, OCTETS) and syntax in ("*", stored_uid):
            return FrameForm(OCTETS, stored_uid, decoded=False, parts=parts)
    if covers(wanted, OCTETS) and syntax in ("", "*", EXPLICIT_LE):
        return FrameForm(OCTETS, EXPLICIT_LE, decoded=True, parts=parts)
    return None
