"""V2: the attributes that the modules of an SOP class demand: type 1 present with a value, type 2 present (PS3.5 7.4).

One set difference per instance; what ``validate`` asks of UIDs and of the image pixel module is not asked again here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_description

from consilium_dicom.findings import Finding, finding, tag_path
from consilium_dicom.iod_tables import IODS, MODULES
from consilium_dicom.scan import Scan

_SAID_ELSEWHERE = frozenset({0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00080060})


@dataclass(frozen=True, slots=True)
class Demands:
    """What one SOP class asks for; ``module`` names the module of each tag."""

    type1: frozenset[int]
    type2: frozenset[int]
    module: dict[int, str]


@lru_cache(maxsize=256)
def demands_of(sop_class_uid: str) -> Demands | None:
    """Return the demands of an SOP class, None for one without a table."""
    modules = IODS.get(sop_class_uid)
    if modules is None:
        return None
    type1: set[int] = set()
    type2: set[int] = set()
    module: dict[int, str] = {}
    for name in modules:
        ones, twos = MODULES[name]
        type1 |= ones
        type2 |= twos
        for tag in (*ones, *twos):
            module.setdefault(tag, name)
    type1 -= _SAID_ELSEWHERE
    return Demands(frozenset(type1), frozenset(type2 - type1), module)


def iod_findings(source: Scan, sop_class_uid: str) -> Iterator[Finding]:
    """Yield each attribute that must be there and is not, in order of tags."""
    demands = demands_of(sop_class_uid)
    if demands is None:
        return
    elements = source.elements
    lacking = demands.type1 - elements.keys()
    empty = {tag for tag in demands.type1 - lacking if elements[tag][2] == 0}
    for tag in sorted(lacking | empty):
        yield finding("type1-missing", tag_path(tag), name=dictionary_description(tag), module=demands.module[tag])
    for tag in sorted(demands.type2 - elements.keys()):
        yield finding("type2-missing", tag_path(tag), name=dictionary_description(tag), module=demands.module[tag])
