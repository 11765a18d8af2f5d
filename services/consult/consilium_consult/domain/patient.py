"""A person's name in three scripts, and how it is found: any part, any script, pinyin with or without blanks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PersonName:
    """Family and given name, the ideographic form (``家^名``) and the phonetic form (DICOM PS3.5 6.2.1)."""

    family: str = ""
    given: str = ""
    ideographic: str = ""
    phonetic: str = ""

    def as_pn(self) -> str:
        """Return the DICOM PN value with its three component groups."""
        groups = [f"{self.family}^{self.given}".strip("^"), self.ideographic, self.phonetic]
        return "=".join(groups).rstrip("=")


def search_text(name: PersonName, patient_id: str) -> str:
    """Return the lower-case text that a search looks into: id, names, pinyin by syllable and joined."""
    ideographic = name.ideographic.replace("^", "")
    syllables = _pinyin(ideographic) if ideographic else []
    parts = [
        patient_id,
        name.family,
        name.given,
        f"{name.family} {name.given}",
        f"{name.given} {name.family}",
        ideographic,
        name.phonetic.replace("^", " "),
        " ".join(syllables),
        "".join(syllables),
        "".join(s[:1] for s in syllables),
    ]
    return "|".join(part.strip().lower() for part in parts if part.strip())


def _pinyin(characters: str) -> list[str]:
    from pypinyin import lazy_pinyin  # its dictionary takes a second to read: only whoever needs it pays

    return lazy_pinyin(characters)
