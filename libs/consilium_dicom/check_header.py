"""V2, V4 and V5 of the header: classes and UIDs, dates and text that a person should look at, and what touches privacy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.datadict import dictionary_description

from consilium_dicom import sop_classes
from consilium_dicom.findings import Finding, finding, tag_path
from consilium_dicom.header import Header
from consilium_dicom.scan import Scan
from consilium_dicom.uids import transfer_syntax

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_AGE = re.compile(rb"\d{3}[DWMY]")
_OLD_DATE = re.compile(r"\d{4}\.\d\d\.\d\d")
_IDENTITY_TEXTS = frozenset({0x00100010, 0x00100020})
_MAX_AGE_YEARS = 130


@dataclass(frozen=True, slots=True)
class Order:
    """What was ordered, as far as the receiver knows it; an empty part is not compared."""

    patient_id: str = ""
    accession_number: str = ""
    birth_date: str = ""
    sex: str = ""


def _uid_findings(name: str, path: str, uid: str) -> Iterator[Finding]:
    if not uid:
        yield finding("uid-missing", path, name=name)
    elif len(uid) > 64 or not _UID.fullmatch(uid):
        yield finding("uid-invalid", path, name=name)
    elif any(len(part) > 1 and part[0] == "0" for part in uid.split(".")):
        yield finding("uid-leading-zero", path, name=name)


def identity_findings(header: Header, *, accept_private: bool) -> Iterator[Finding]:
    """V2: yield what is wrong with the SOP class, the transfer syntax (the reasons to name first) and the UIDs."""
    if header.sop_class_uid and not sop_classes.is_storage(header.sop_class_uid):
        private = accept_private and sop_classes.is_private(header.sop_class_uid)
        code = "sop-class-private" if private else "sop-class-not-storage"
        yield finding(code, "(0008,0016)", uid=header.sop_class_uid)
    if header.transfer_syntax_uid and transfer_syntax(header.transfer_syntax_uid) is None:
        yield finding("transfer-syntax-unknown", "(0002,0010)", uid=header.transfer_syntax_uid)
    for name, path, uid in (
        ("SOP Class UID", "(0008,0016)", header.sop_class_uid),
        ("SOP Instance UID", "(0008,0018)", header.sop_instance_uid),
        ("Study Instance UID", "(0020,000D)", header.study_uid),
        ("Series Instance UID", "(0020,000E)", header.series_uid),
    ):
        yield from _uid_findings(name, path, uid)
    for name, path, meta, inside in (
        ("SOP Class UID", "(0002,0002)", header.media_sop_class_uid, header.sop_class_uid),
        ("SOP Instance UID", "(0002,0003)", header.media_sop_instance_uid, header.sop_instance_uid),
    ):
        if not meta:
            yield finding("meta-uid-missing", path, name=name)
        elif inside and meta != inside:
            yield finding("meta-mismatch", path, name=name)
    if not header.modality:
        yield finding("attribute-absent", "(0008,0060)", name="Modality")


def plausibility_findings(header: Header, source: Scan, today: str) -> Iterator[Finding]:
    """V4: yield what a person should look at, though it can be stored; ``today`` is YYYYMMDD, "" when nobody knows."""
    if not header.patient_id:
        yield finding("patient-id-empty", "(0010,0020)")
    yield from _dates(header, today)
    yield from _age(source)
    yield from _charset(header)
    for tag in header.nul_tags:
        yield finding("text-nul", tag_path(tag), name=dictionary_description(tag))
    if any(width <= 0 for width in header.window_width):
        yield finding("window-invalid", "(0028,1051)")
    for name, tag, number in (
        ("Number of Frames", 0x00280008, header.number_of_frames),
        ("Instance Number", 0x00200013, header.instance_number),
        ("Series Number", 0x00200011, header.series_number),
    ):
        if number is None and source.value(tag).strip(b" \0"):
            yield finding("number-unreadable", tag_path(tag), name=name)


def _dates(header: Header, today: str) -> Iterator[Finding]:
    for name, path, date in (
        ("Study Date", "(0008,0020)", header.study_date),
        ("Series Date", "(0008,0021)", header.series_date),
        ("Patient's Birth Date", "(0010,0030)", header.birth_date),
    ):
        if date and not (_DATE.fullmatch(date) or _OLD_DATE.fullmatch(date)):
            yield finding("date-invalid", path, name=name)
    study, birth = _plain(header.study_date), _plain(header.birth_date)
    if today and study > today:
        yield finding("study-date-future", "(0008,0020)")
    if today and birth > today:
        yield finding("birth-date-future", "(0010,0030)")
    elif birth and study and birth > study:
        yield finding("birth-after-study", "(0010,0030)")
    elif birth and study and (age := int(study[:4]) - int(birth[:4])) > _MAX_AGE_YEARS:
        yield finding("age-implausible", "(0010,0030)", age=age)


def _age(source: Scan) -> Iterator[Finding]:
    """Yield an age that is none, or that nobody reaches."""
    age = source.value(0x00101010).strip(b" \0")
    if age and not _AGE.fullmatch(age):
        yield finding("age-invalid", "(0010,1010)")
    elif age.endswith(b"Y") and int(age[:3]) > _MAX_AGE_YEARS:
        yield finding("age-implausible", "(0010,1010)", age=int(age[:3]))


def _plain(date: str) -> str:
    return date.replace(".", "") if _DATE.fullmatch(date) or _OLD_DATE.fullmatch(date) else ""


def _charset(header: Header) -> Iterator[Finding]:
    """Yield how the text had to be read when it is not what (0008,0005) says."""
    charset = header.charset
    stated = header.character_set or "-"
    if charset.kind == "repaired":
        yield finding("charset-repaired", "(0008,0005)", actual=charset.term, stated=stated)
    elif charset.kind == "assumed":
        yield finding("charset-assumed", "(0008,0005)")
    for tag in charset.tags:
        name = _words_for(tag)
        if tag in _IDENTITY_TEXTS:
            yield finding("charset-unsafe", tag_path(tag), name=name, stated=stated)
        else:
            yield finding("text-undecodable", tag_path(tag), name=name)


def _words_for(tag: int) -> str:
    """Return what a text element is called."""
    if tag >> 16 & 1:
        return "a private text"
    try:
        return dictionary_description(tag)
    except KeyError:  # of no edition that we know, or of a sender that counts wrongly
        return "an unknown text"


def order_findings(header: Header, order: Order) -> Iterator[Finding]:
    """V4: yield where the object and its order name different people or accessions."""
    for name, path, mine, ordered in (
        ("Patient ID", "(0010,0020)", header.patient_id, order.patient_id),
        ("Accession Number", "(0008,0050)", header.accession_number, order.accession_number),
        ("Patient's Birth Date", "(0010,0030)", _plain(header.birth_date), _plain(order.birth_date)),
        ("Patient's Sex", "(0010,0040)", header.sex, order.sex),
    ):
        if mine and ordered and mine != ordered:
            yield finding("order-mismatch", path, name=name)


def privacy_findings(source: Scan, header: Header) -> Iterator[Finding]:
    """V5: yield what matters before the object leaves the hospital."""
    if header.burned_in == "YES":
        yield finding("burned-in-annotation", "(0028,0301)")
    elements = source.elements
    private = sum(1 for tag in elements if tag & 0x10000 and tag & 0xFF00)
    if private:
        yield finding("private-elements", count=private)
    if source.value(0x00120062).strip(b" \0") == b"YES":
        yield finding("identity-removed", "(0012,0062)")
        if not (source.value(0x00120063).strip(b" \0") or 0x00120064 in elements):
            yield finding("deidentification-unexplained", "(0012,0063)")
