"""Fold person names so that any component group, in any case, finds the patient (PS3.4 C.2.2.2.1, PS3.18 8.3.4.2)."""

from __future__ import annotations

import re
import unicodedata

from consilium_dicom.person_name import PersonName

_SPACES = re.compile(r"[\s,^]+")


def fold(text: str) -> str:
    """Return the text in NFKC, case folded, with blanks, commas and carets as one caret, none at the ends."""
    return _SPACES.sub("^", unicodedata.normalize("NFKC", text).casefold()).strip("^")


def name_key(name: PersonName) -> str:
    """Return the key that ``name_pattern`` matches: ``=group=group=`` of the folded groups that are not empty."""
    groups = [fold(group) for group in (name.alphabetic, name.ideographic, name.phonetic)]
    present = [group for group in groups if group]
    return f"={'='.join(present)}=" if present else ""


def name_patterns(value: str) -> list[str]:
    """Return wildcard patterns that must all match ``name_key``: one per component group asked for."""
    return [f"*={fold(group)}=*" for group in value.split("=") if fold(group)]


def search_text(*parts: str) -> str:
    """Return the haystack of the worklist's free search: folded, carets kept and also left out."""
    folded = [fold(part) for part in parts if part]
    squeezed = [part.replace("^", "") for part in folded if "^" in part]
    return f" {' '.join([*folded, *squeezed])} "
