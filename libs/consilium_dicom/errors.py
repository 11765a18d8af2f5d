"""What can be wrong with a DICOM object, as a branch of the house's error tree.

``failure_reason`` is the status word that STOW-RS (PS3.18 10.5.3) and C-STORE (PS3.4 B.2.3) report for it.
"""

from __future__ import annotations

from typing import ClassVar

from consilium_core.errors import Invalid


class DicomInvalid(Invalid):
    """The object or the request about it does not conform; 0xA900 = data set does not match SOP class."""

    code = "dicom-invalid"
    failure_reason: ClassVar[int] = 0xA900


class DicomUnreadable(DicomInvalid):
    """The bytes cannot be parsed as DICOM at all; 0xC000 = cannot understand."""

    code = "dicom-unreadable"
    failure_reason: ClassVar[int] = 0xC000


class TooLarge(DicomInvalid):
    """A fence against hostile input was hit: nesting, inflated size, number of elements or of fragments."""

    code = "dicom-too-large"
    failure_reason: ClassVar[int] = 0xC000


class Undecodable(DicomInvalid):
    """A frame's code stream cannot be decoded, or not by the codecs here."""

    code = "frame-undecodable"
    failure_reason: ClassVar[int] = 0xA900


class Unencodable(DicomInvalid):
    """These pixels cannot be written in the transfer syntax that was asked for."""

    code = "frame-unencodable"


class UnsuitableJpeg(DicomInvalid):
    """A JPEG that cannot stand in a JPEG Baseline object as it is; ``detail`` says what must change."""

    code = "unsuitable-jpeg"
