"""The values inside sequences that searches can match (PS3.18 table 10.6.1-5, PS3.4 C.2.2.2.6): read once per series at ingest.

A path is the tags from the outermost sequence to the value, joined by dots: ``00400275.00400009`` is Scheduled Procedure Step ID
in the Request Attributes Sequence. Keys below one sequence must be met by the same item of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from consilium_archive.names import fold
from consilium_dicom.header import Header
from consilium_dicom.json_model import JsonObject, to_json_model
from consilium_dicom.scan import Scan

# Outermost sequences that are kept: of the patient and the study, then of the series.
OF_STUDY = (0x00080051, 0x00081032, 0x00101002, 0x00321064, 0x00400100)
OF_SERIES = (0x00400275, 0x00081111, 0x00400260, 0x00082218)
_ALL = frozenset(OF_STUDY + OF_SERIES)
_MOST_VALUES = 500
_MOST_CHARS = 256
_DEPTH = 3


@dataclass(frozen=True, slots=True)
class ItemValue:
    """One value: its path, the number of the outermost item it is in, and its text as it is matched (names folded)."""

    path: str
    number: int
    value: str


def item_values(source: Scan, header: Header) -> tuple[ItemValue, ...]:
    """Return the values inside the sequences above, at most 500; none for the many objects without such a sequence."""
    present = {tag: source.elements[tag] for tag in _ALL & source.elements.keys()}
    if not present:
        return ()
    model = to_json_model(source.buffer, header, "", source=replace(source, elements=present))
    found: list[ItemValue] = []
    for value in _values(model):
        found.append(value)
        if len(found) == _MOST_VALUES:
            break
    return tuple(found)


def _values(model: JsonObject) -> Iterator[ItemValue]:
    for tag in sorted(model):
        for number, item in enumerate(model[tag].get("Value", [])):
            for path, text in _inside(item, 1):
                yield ItemValue(f"{tag}.{path}", number, text)


def _inside(item: Any, depth: int) -> Iterator[tuple[str, str]]:
    for tag, element in sorted(item.items()) if isinstance(item, dict) else ():
        values = element.get("Value", [])
        if element.get("vr") == "SQ":
            if depth < _DEPTH:
                for inner in values:
                    for path, text in _inside(inner, depth + 1):
                        yield f"{tag}.{path}", text
            continue
        for value in values:
            if isinstance(value, dict):  # a person's name
                yield tag, f"={'='.join(fold(group) for group in value.values())}="[:_MOST_CHARS]
            elif value is not None:
                yield tag, str(value)[:_MOST_CHARS]
