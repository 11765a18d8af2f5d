"""What every document that we write shares, and one kind of it: a PDF in a DICOM envelope (PS3.3 A.45.1, C.24).

Flows in: the consultation's ``CaptureContext``, an ``Identity``, the ``Equipment`` and the document; flows out: a Part 10 file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from consilium_core.ids import uid_from
from consilium_core.site_protocol import CaptureContext
from consilium_dicom import build_modules as modules
from consilium_dicom.build_modules import Equipment, Identity
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.part10 import part10_file

_EXPLICIT_LE = str(uids.ExplicitVRLittleEndian)
_MOST_BYTES = 0xFFFFFFF0


@dataclass(frozen=True, slots=True)
class Code:
    """One coded term (PS3.3 8.1): value, coding scheme, meaning."""

    value: str
    scheme: str
    meaning: str

    def item(self) -> Dataset:
        """Return the code sequence item; a value longer than 16 characters goes where the standard wants it."""
        ds = Dataset()
        if len(self.value) <= 16:
            ds.CodeValue = self.value
        else:
            ds.LongCodeValue = self.value
        ds.CodingSchemeDesignator, ds.CodeMeaning = self.scheme, self.meaning
        return ds


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that a document speaks of; ``frames`` from 1, none for all."""

    study_uid: str
    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    frames: tuple[int, ...] = ()

    def item(self) -> Dataset:
        """Return class, instance and frames as a sequence item (PS3.3 10.8, 10.3)."""
        ds = Dataset()
        ds.ReferencedSOPClassUID = modules.valid_uid("referenced SOP class UID", self.sop_class_uid)
        ds.ReferencedSOPInstanceUID = modules.valid_uid("referenced SOP instance UID", self.sop_instance_uid)
        if self.frames:
            ds.ReferencedFrameNumber = list(self.frames) if len(self.frames) > 1 else self.frames[0]
        return ds


def named_identity(
    context: CaptureContext,
    name: str,
    at: datetime,
    *,
    series: str = "",
    instance_number: int = 1,
    series_number: int = 1,
    series_description: str = "",
) -> Identity:
    """Return the same UIDs every time for one ``name`` (a report's id and version) in one study; ``series`` gathers several."""
    return Identity(
        uid_from(context.study_uid, f"instance/{name}"), uid_from(context.study_uid, f"series/{series or name}"), at,
        instance_number, series_number, series_description,
    )  # fmt: skip


def document(context: CaptureContext, identity: Identity, made_by: Equipment, sop_class: str, modality: str) -> Dataset:
    """Return a data set with the modules of patient, study, series, equipment and SOP common."""
    at = identity.captured_at
    if at.utcoffset() is None:
        raise DicomInvalid("a document's moment must know its time zone")
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = modules.valid_uid("SOP instance UID", identity.sop_instance_uid)
    modules.patient(ds, context)
    modules.study(ds, context, identity)
    modules.series(ds, context, identity, modality)
    del ds.Laterality
    ds.SeriesNumber = identity.series_number or 1
    modules.equipment(ds, made_by)
    ds.InstanceNumber = identity.instance_number
    ds.ContentDate, ds.ContentTime = at.strftime("%Y%m%d"), at.strftime("%H%M%S.%f")
    ds.InstanceCreationDate, ds.InstanceCreationTime = ds.ContentDate, ds.ContentTime
    ds.TimezoneOffsetFromUTC = at.strftime("%z")[:5]
    return ds


def evidence(references: Sequence[Reference]) -> Items:
    """Return study, series and instance of every reference once, in order (PS3.3 C.17.2.1, Hierarchical SOP Instance Reference)."""
    studies: dict[str, dict[str, dict[str, Reference]]] = {}
    for one in references:
        studies.setdefault(one.study_uid, {}).setdefault(one.series_uid, {}).setdefault(one.sop_instance_uid, one)
    out = []
    for study_uid, series in studies.items():
        study = Dataset()
        study.StudyInstanceUID = modules.valid_uid("referenced study UID", study_uid)
        study.ReferencedSeriesSequence = []
        for series_uid, instances in series.items():
            item = Dataset()
            item.SeriesInstanceUID = modules.valid_uid("referenced series UID", series_uid)
            item.ReferencedSOPSequence = [
                Reference("", "", one.sop_class_uid, one.sop_instance_uid).item() for one in instances.values()
            ]
            study.ReferencedSeriesSequence.append(item)
        out.append(study)
    return Items(out)


@dataclass(frozen=True, slots=True)
class Pdf:
    """A PDF, its title and kind, and the instances it was made from."""

    data: bytes
    title: str = ""
    kind: Code | None = None
    sources: tuple[Reference, ...] = ()
    burned_in_annotation: bool = True

    def __post_init__(self) -> None:
        """Refuse bytes that are no whole PDF (ISO 32000-1 7.5.2, 7.5.5)."""
        if not self.data.startswith(b"%PDF-") or b"%%EOF" not in self.data[-1024:]:
            raise DicomInvalid("not a whole PDF: it must begin with %PDF- and end with %%EOF")
        if len(self.data) > _MOST_BYTES:
            raise DicomInvalid("a PDF in DICOM is smaller than 4 GiB")


def build_pdf(pdf: Pdf, context: CaptureContext, identity: Identity, equipment: Equipment) -> bytes:
    """Return an Encapsulated PDF object; the PDF's bytes are kept as they are. Raises ``DicomInvalid``."""
    ds = document(context, identity, equipment, str(uids.EncapsulatedPDFStorage), "DOC")
    ds.ConversionType = equipment.conversion_type
    ds.AcquisitionDateTime = ""
    ds.BurnedInAnnotation = "YES" if pdf.burned_in_annotation else "NO"
    ds.DocumentTitle = pdf.title[:1024].replace("\\", "/")
    ds.ConceptNameCodeSequence = [pdf.kind.item()] if pdf.kind else []
    if pdf.sources:
        ds.SourceInstanceSequence = [one.item() for one in pdf.sources]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(pdf.data)
    ds.EncapsulatedDocument = pdf.data + b"\0" * (len(pdf.data) & 1)
    return part10_file(ds, _EXPLICIT_LE)
