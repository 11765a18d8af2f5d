"""Person names with three component groups: alphabetic, ideographic, phonetic (PS3.5 6.2.1.2)."""

from __future__ import annotations

from dataclasses import dataclass

from consilium_dicom.errors import DicomInvalid

_FORBIDDEN = "\\\r\n\t\f\0"


@dataclass(frozen=True, slots=True)
class PersonName:
    """One name; each group is ``family^given^middle^prefix^suffix`` with trailing empty parts left out."""

    alphabetic: str = ""
    ideographic: str = ""
    phonetic: str = ""

    @classmethod
    def parse(cls, text: str) -> PersonName:
        """Return the name in a decoded PN value; only the first of several values counts."""
        groups = [group.rstrip("\0 ") for group in text.split("\\", 1)[0].split("=", 3)[:3]]
        return cls(*groups)

    def __str__(self) -> str:
        """Return the PN value, empty trailing groups left out."""
        return "=".join((self.alphabetic, self.ideographic, self.phonetic)).rstrip("=")

    def __bool__(self) -> bool:
        """Tell whether there is any name at all."""
        return bool(self.alphabetic or self.ideographic or self.phonetic)

    @property
    def family(self) -> str:
        """Return the alphabetic family name, or the ideographic one when there is no other."""
        return (self.alphabetic or self.ideographic).split("^")[0]

    def display(self) -> str:
        """Return what a person should read: the ideographic form if there is one, else the alphabetic, spaced."""
        if self.ideographic:
            return self.ideographic.replace("^", "").strip()
        return " ".join(part for part in self.alphabetic.split("^") if part)

    def json(self) -> dict[str, str]:
        """Return the PN object of the DICOM JSON model (PS3.18 F.2.2)."""
        groups = (("Alphabetic", self.alphabetic), ("Ideographic", self.ideographic), ("Phonetic", self.phonetic))
        return {name: group for name, group in groups if group}


def compose(
    family: str, given: str = "", *, ideographic: tuple[str, str] | None = None, phonetic: tuple[str, str] | None = None
) -> PersonName:
    """Return a name from its parts; raise ``DicomInvalid`` for characters that a PN cannot hold or a group over 64."""

    def group(parts: tuple[str, str] | None) -> str:
        if parts is None:
            return ""
        if any(c in _FORBIDDEN or c in "^=" for part in parts for c in part):
            raise DicomInvalid("a name part holds a character that a person name reserves")
        text = "^".join(parts).rstrip("^")
        if len(text) > 64:
            raise DicomInvalid("a name group is longer than 64 characters")
        return text

    return PersonName(group((family, given)), group(ideographic), group(phonetic))
