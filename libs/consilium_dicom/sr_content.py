"""Content items of structured reports, one constructor for each value type (PS3.3 C.17.3, PS3.16 for the terms)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydicom.dataset import Dataset

from consilium_dicom.build_document import Code, Reference
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.person_name import PersonName

Relation = Literal["CONTAINS", "HAS OBS CONTEXT", "HAS CONCEPT MOD", "INFERRED FROM", "HAS PROPERTIES"]

LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
PERSON = Code("121006", "DCM", "Person")
PERSON_NAME = Code("121008", "DCM", "Person Observer Name")
SOURCE_IMAGE = Code("121112", "DCM", "Source of Measurement")
LANGUAGES = {
    "zh-CN": Code("zh-CN", "RFC5646", "Chinese (China)"),
    "en": Code("en", "RFC5646", "English"),
}
_MOST_DIGITS = 16


def item(
    relation: Relation | None, value_type: str, name: Code | None = None, children: Sequence[Dataset] = ()
) -> Dataset:
    """Return a content item without its value; ``relation`` None is the root."""
    ds = Dataset()
    if relation is not None:
        ds.RelationshipType = relation
    ds.ValueType = value_type
    if name is not None:
        ds.ConceptNameCodeSequence = [name.item()]
    if children:
        ds.ContentSequence = list(children)
    return ds


def container(name: Code, children: Sequence[Dataset], relation: Relation | None = "CONTAINS") -> Dataset:
    """Return a heading and what stands below it."""
    ds = item(relation, "CONTAINER", name, children)
    ds.ContinuityOfContent = "SEPARATE"
    return ds


def text(name: Code, value: str, children: Sequence[Dataset] = (), relation: Relation = "CONTAINS") -> Dataset:
    """Return words; lines may be parted by newlines."""
    if not value.strip():
        raise DicomInvalid(f"{name.meaning}: a text without words is no content item")
    ds = item(relation, "TEXT", name, children)
    ds.TextValue = value.replace("\r\n", "\n").replace("\n", "\r\n")
    return ds


def code(name: Code, value: Code, relation: Relation = "CONTAINS", children: Sequence[Dataset] = ()) -> Dataset:
    """Return a coded answer."""
    ds = item(relation, "CODE", name, children)
    ds.ConceptCodeSequence = [value.item()]
    return ds


def number(name: Code, value: float, unit: Code, children: Sequence[Dataset] = ()) -> Dataset:
    """Return a measured number with its unit (UCUM); at most 16 characters, rounded if need be (DS, PS3.5 6.2)."""
    ds = item("CONTAINS", "NUM", name, children)
    measured = Dataset()
    measured.NumericValue = _decimal(value)
    measured.MeasurementUnitsCodeSequence = [unit.item()]
    ds.MeasuredValueSequence = [measured]
    return ds


def _decimal(value: float) -> str:
    for digits in range(15, 5, -1):
        words = f"{value:.{digits}g}"
        if len(words) <= _MOST_DIGITS:
            return words
    raise DicomInvalid(f"{value} does not fit a decimal string")


def person(name: Code, who: str, relation: Relation = "HAS OBS CONTEXT") -> Dataset:
    """Return a person's name."""
    ds = item(relation, "PNAME", name)
    ds.PersonName = str(PersonName.parse(who))
    return ds


def image(reference: Reference, relation: Relation = "CONTAINS", name: Code | None = None) -> Dataset:
    """Return a picture that the words are about, or were inferred from."""
    ds = item(relation, "IMAGE", name)
    ds.ReferencedSOPSequence = [reference.item()]
    return ds


def observer(who: str) -> list[Dataset]:
    """Return who speaks (PS3.16 TID 1002, 1003)."""
    return [code(OBSERVER_TYPE, PERSON, "HAS OBS CONTEXT"), person(PERSON_NAME, who)]


def template(ds: Dataset, identifier: str) -> None:
    """Say which template of PS3.16 the root follows (PS3.3 C.18.8)."""
    said = Dataset()
    said.MappingResource, said.TemplateIdentifier = "DCMR", identifier
    ds.ContentTemplateSequence = [said]
