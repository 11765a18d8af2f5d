"""Key objects and reports: Key Object Selection (TID 2010), Basic Text SR and Comprehensive SR (after TID 2000).

Flows in: what people wrote, measured and chose, with the instances that it is about; flows out: a Part 10 file. A report is signed
elsewhere: VERIFIED is written only when the caller names who verified it and when (PS3.3 C.17.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydicom import uid as uids
from pydicom.dataset import Dataset

from consilium_core.site_protocol import CaptureContext
from consilium_dicom import sr_content as content
from consilium_dicom.build_document import Code, Reference, document, evidence
from consilium_dicom.build_modules import Equipment, Identity
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.part10 import part10_file
from consilium_dicom.person_name import PersonName

_EXPLICIT_LE = str(uids.ExplicitVRLittleEndian)

OF_INTEREST = Code("113000", "DCM", "Of Interest")
FOR_TEACHING = Code("113004", "DCM", "For Teaching")
FOR_CONFERENCE = Code("113005", "DCM", "For Conference")
FOR_REFERRING_PROVIDER = Code("113002", "DCM", "For Referring Provider")
_DESCRIPTION = Code("113012", "DCM", "Key Object Description")

CONSULT_NOTE = Code("11488-4", "LN", "Consult note")
IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic imaging study")
Heading = Literal["history", "request", "procedure", "findings", "impressions", "recommendations", "conclusions"]
_HEADINGS: dict[Heading, tuple[Code, Code]] = {  # PS3.16 CID 7001 and the elements of CID 7002 that stand below
    "history": (Code("121060", "DCM", "History"), Code("121060", "DCM", "History")),
    "request": (Code("121062", "DCM", "Request"), Code("121062", "DCM", "Request")),
    "procedure": (
        Code("121064", "DCM", "Current Procedure Descriptions"),
        Code("121065", "DCM", "Procedure Description"),
    ),
    "findings": (Code("121070", "DCM", "Findings"), Code("121071", "DCM", "Finding")),
    "impressions": (Code("121072", "DCM", "Impressions"), Code("121073", "DCM", "Impression")),
    "recommendations": (Code("121074", "DCM", "Recommendations"), Code("121075", "DCM", "Recommendation")),
    "conclusions": (Code("121076", "DCM", "Conclusions"), Code("121077", "DCM", "Conclusion")),
}


@dataclass(frozen=True, slots=True)
class KeyObjects:
    """Instances that somebody chose, why, and in whose words."""

    chosen: tuple[Reference, ...]
    title: Code = OF_INTEREST
    description: str = ""
    observer: str = ""

    def __post_init__(self) -> None:
        """Refuse a choice of nothing."""
        if not self.chosen:
            raise DicomInvalid("a key object selection names at least one instance")


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured number; ``unit`` is UCUM's, ``source`` the picture that it was measured on."""

    name: Code
    value: float
    unit: Code
    source: Reference | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """One heading: sentences, measurements below them and the pictures meant."""

    heading: Heading
    sentences: tuple[str, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    images: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """Who verified a report, for which organization, and when."""

    name: str
    organization: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """A consultation's report."""

    sections: tuple[Section, ...]
    observer: str
    title: Code = CONSULT_NOTE
    language: Literal["zh-CN", "en"] = "zh-CN"
    complete: bool = True
    verified: Verification | None = None

    def __post_init__(self) -> None:
        """Refuse a report without words."""
        if not any(one.sentences or one.measurements for one in self.sections):
            raise DicomInvalid("a report says at least one sentence")
        if self.verified is not None and self.verified.at.utcoffset() is None:
            raise DicomInvalid("the moment of verification must know its time zone")

    def references(self) -> list[Reference]:
        """Return every instance that the report speaks of."""
        found = []
        for one in self.sections:
            found += [*one.images, *(number.source for number in one.measurements if number.source is not None)]
        return found


def build_key_objects(keys: KeyObjects, context: CaptureContext, identity: Identity, equipment: Equipment) -> bytes:
    """Return a Key Object Selection document (PS3.16 TID 2010)."""
    ds = document(context, identity, equipment, str(uids.KeyObjectSelectionDocumentStorage), "KO")
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.CurrentRequestedProcedureEvidenceSequence = evidence(keys.chosen)
    children = content.observer(keys.observer) if keys.observer else []
    if keys.description:
        children.append(content.text(_DESCRIPTION, keys.description))
    children += [content.image(one) for one in keys.chosen]
    _root(ds, content.container(keys.title, children, None), "2010")
    return part10_file(ds, _EXPLICIT_LE)


def build_report(report: Report, context: CaptureContext, identity: Identity, equipment: Equipment) -> bytes:
    """Return the report: Comprehensive SR when it holds measurements, which Basic Text SR cannot, else Basic Text SR."""
    measured = any(one.measurements for one in report.sections)
    sop_class = uids.ComprehensiveSRStorage if measured else uids.BasicTextSRStorage
    ds = document(context, identity, equipment, str(sop_class), "SR")
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.CompletionFlag = "COMPLETE" if report.complete else "PARTIAL"
    ds.VerificationFlag = "VERIFIED" if report.verified else "UNVERIFIED"
    if report.verified:
        ds.VerifyingObserverSequence = [_verifier(report.verified)]
    references = report.references()
    if references:
        ds.CurrentRequestedProcedureEvidenceSequence = evidence(references)
    children = [
        content.code(content.LANGUAGE, content.LANGUAGES[report.language], "HAS CONCEPT MOD"),
        *content.observer(report.observer),
        *(content.container(_HEADINGS[one.heading][0], list(_below(one))) for one in report.sections),
    ]
    _root(ds, content.container(report.title, children, None), "2000")
    return part10_file(ds, _EXPLICIT_LE)


def _below(section: Section) -> Iterator[Dataset]:
    for sentence in section.sentences:
        yield content.text(_HEADINGS[section.heading][1], sentence)
    for one in section.measurements:
        source = [content.image(one.source, "INFERRED FROM", content.SOURCE_IMAGE)] if one.source is not None else []
        yield content.number(one.name, one.value, one.unit, source)
    for picture in section.images:
        yield content.image(picture)


def _verifier(verified: Verification) -> Dataset:
    ds = Dataset()
    ds.VerifyingOrganization = verified.organization[:64]
    ds.VerificationDateTime = verified.at.strftime("%Y%m%d%H%M%S.%f%z")
    ds.VerifyingObserverName = str(PersonName.parse(verified.name))
    ds.VerifyingObserverIdentificationCodeSequence = []
    return ds


def _root(ds: Dataset, root: Dataset, identifier: str) -> None:
    """Make the root container's attributes the document's own (PS3.3 C.17.3)."""
    for element in root:
        ds[element.tag] = element
    content.template(ds, identifier)
