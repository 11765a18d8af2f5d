"""Make a video object of an H.264 stream as it was captured: nothing is decoded, nothing encoded (PS3.5 8.2.7 to 8.2.9, A.4.6 to A.4.8).

Flows in: an MP4 file or a bare byte stream, the consultation's context; flows out: a Part 10 file whose transfer syntax is what the
stream's own parameter sets ask for. The object is judged by the same reader as any other (``check_video``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydicom import uid as uids
from pydicom.dataset import Dataset

from consilium_core.site_protocol import CaptureContext
from consilium_dicom import build_modules as modules
from consilium_dicom.build_document import Code
from consilium_dicom.build_modules import Equipment, Identity
from consilium_dicom.check_video import profile_words
from consilium_dicom.encapsulation import fragments
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.part10 import part10_file
from consilium_dicom.video.mp4_write import mp4_of
from consilium_dicom.video.read import read_video
from consilium_dicom.video.source import VideoBytes
from consilium_dicom.video.stream import Picture, VideoStream

_SYNTAX = "1.2.840.10008.1.2.4."
_CLASSES = {
    "ES": uids.VideoEndoscopicImageStorage,
    "GM": uids.VideoMicroscopicImageStorage,
    "XC": uids.VideoPhotographicImageStorage,
}
_HIGH, _STEREO_HIGH = 100, 128
_LOWER = frozenset({66, 77, 88})
_MOST_BYTES = 0xFFFFFFF0
_WHOLE_BODY = Code("38266002", "SCT", "Entire body")


class UnsuitableVideo(DicomInvalid):
    """A stream that no transfer syntax of DICOM has a place for as it is; ``detail`` says why."""

    code = "unsuitable-video"


@dataclass(frozen=True, slots=True)
class Film:
    """A captured stream. ``fps`` is needed where the stream does not say it, ``frames`` for a fragmented MP4 alone.

    ``frame_packed``: two views lie in each frame (transfer syntax .105); ``disc``: BD-compatible is wanted (.103). ``anatomic_region`` is demanded
    of videos (C.8.12.1): where nobody says it, it is the whole body.
    """

    data: bytes
    fps: float | None = None
    frames: int | None = None
    burned_in_annotation: bool = True
    frame_packed: bool = False
    disc: bool = False
    anatomic_region: Code = _WHOLE_BODY


def video_class_for(modality: str) -> tuple[str, str]:
    """Return (SOP class UID, modality) of a video: endoscopic, microscopic, or photographic for all else (PS3.3 A.32.5 to A.32.7)."""
    kind = modality if modality in _CLASSES else "XC"
    return str(_CLASSES[kind]), kind


def transfer_syntax_for(picture: Picture, *, frame_packed: bool = False, disc: bool = False) -> str:
    """Return the lowest transfer syntax that allows the stream's profile and level; raise ``UnsuitableVideo`` if none does."""
    if picture.codec != "H.264":
        raise UnsuitableVideo(f"the stream is {picture.codec}: only H.264 is taken as captured")
    if picture.chroma != 1 or picture.bit_depth != 8:
        raise UnsuitableVideo("only 8 bit 4:2:0 video has a transfer syntax: capture it so")
    if picture.profile == _STEREO_HIGH and picture.level <= 42:
        return _SYNTAX + "106"
    if picture.profile not in _LOWER | {_HIGH} or picture.level > 42:
        raise UnsuitableVideo(f"{profile_words(picture)}: DICOM has transfer syntaxes up to High profile, level 4.2")
    if picture.level <= 41 and not frame_packed:
        return _SYNTAX + ("103" if disc else "102")
    return _SYNTAX + ("105" if frame_packed else "104")


def build_video(film: Film, context: CaptureContext, identity: Identity, equipment: Equipment) -> bytes:
    """Return the video object. An MP4's bytes are stored as they are; a bare stream's pictures go into an MP4 untouched.

    Raises ``UnsuitableVideo``, or ``VideoUnreadable`` for bytes that are no video.
    """
    if identity.captured_at.utcoffset() is None:
        raise DicomInvalid("captured_at must know its time zone")
    data, stream = _contained(film)
    picture, fps, frames = stream.picture, film.fps or stream.fps, stream.frames or film.frames
    if not fps or not frames:
        raise UnsuitableVideo("the stream says neither its rate nor how many frames it holds: give both")
    if len(data) > _MOST_BYTES:
        raise UnsuitableVideo("one fragment holds less than 4 GiB: make shorter clips")
    syntax = transfer_syntax_for(picture, frame_packed=film.frame_packed, disc=film.disc)
    sop_class, modality = video_class_for(context.modality)
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = modules.valid_uid("SOP instance UID", identity.sop_instance_uid)
    modules.patient(ds, context)
    modules.study(ds, context, identity)
    modules.series(ds, context, identity, modality)
    del ds.Laterality  # the anatomic region says the side, where there is one
    modules.equipment(ds, equipment)
    modules.image(ds, identity, burned_in=film.burned_in_annotation)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.AcquisitionContextSequence = []
    ds.AnatomicRegionSequence = [film.anatomic_region.item()]
    modules.cine(ds, frames, fps, None)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_PARTIAL_420", 0
    ds.Rows, ds.Columns = picture.height, picture.width
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    modules.lossy(ds, picture.height * picture.width * 3 * frames / len(data), "ISO_14496_10")
    return part10_file(ds, syntax, fragments([data], with_table=False))


def _contained(film: Film) -> tuple[bytes, VideoStream]:
    """Return the stream in a container and what it says of itself."""
    stream = _read(film.data)
    if stream.container == "no container":
        fps = film.fps or stream.fps
        if not fps:
            raise UnsuitableVideo("the stream does not say its rate: give fps")
        data = mp4_of(film.data, fps)
        return data, replace(_read(data), fps=fps)
    if not stream.alone:
        raise UnsuitableVideo("the stream does not begin with a picture that stands alone")
    return film.data, stream


def _read(data: bytes) -> VideoStream:
    return read_video(VideoBytes(data, [(0, len(data))]))
