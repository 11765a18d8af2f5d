"""Fold names and words so that any component group, in any case, finds the patient (PS3.4 C.2.2.2.1, PS3.18 8.3.4.2).

Han characters are also kept as their pinyin, in every reading that ``pinyin`` gives, so that ``wang*`` finds 王. Search text is
plain ASCII (letters, digits, blanks): every other character becomes ``u`` and its code point, so that one trigram index serves
all scripts on both databases whatever their locale.
"""

from __future__ import annotations

import re
import unicodedata

from consilium_archive.pinyin import readings
from consilium_dicom.person_name import PersonName

_SPACES = re.compile(r"[\s,^]+")
_ACCENTS = re.compile("[\u0300-\u036f]+")  # of Latin, Greek and Cyrillic letters; Japanese sound marks lie elsewhere
_TONES = re.compile(r"(?<=[a-z])[1-5](?![0-9])")
_SEPARATORS = frozenset(" ^=")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


def fold(text: str) -> str:
    """Return the text in NFKC, case folded, without accents, with blanks, commas and carets as one caret, none at the ends."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    if not folded.isascii():
        folded = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", folded)))
    return _SPACES.sub("^", folded).strip("^")


def name_key(name: PersonName) -> str:
    """Return the key that ``name_patterns`` match: ``=group=group=`` of the folded groups and of their pinyin readings."""
    return _joined([*_groups(name), *_spoken(name)])


def _groups(name: PersonName) -> list[str]:
    return [folded for group in (name.alphabetic, name.ideographic, name.phonetic) if (folded := fold(group))]


def _spoken(name: PersonName) -> list[str]:
    """Return the pinyin of the groups that are written in Han characters."""
    return [spoken for group in _groups(name) for spoken in readings(group)]


def sort_key(name: PersonName) -> str:
    """Return what names are ordered by: the pinyin of Han text, else the first group, at most 64 characters."""
    groups = _groups(name)
    return next((spoken for spoken in _spoken(name)), groups[0] if groups else "")[:64]


def _joined(groups: list[str]) -> str:
    unique = list(dict.fromkeys(groups))
    return f"={'='.join(unique)}=" if unique else ""


def name_patterns(value: str) -> list[list[str]]:
    """Return wildcard patterns for ``name_key``: one list of alternatives per component group asked for, all lists must match.

    A group may be written with tone marks or tone numbers (``wáng``, ``wang2``).
    """
    wanted: list[list[str]] = []
    for group in value.split("="):
        folded = fold(group)
        if folded:
            forms = dict.fromkeys([folded, _TONES.sub("", folded)])
            wanted.append([f"*={form}=*" for form in forms])
    return wanted


def fuzzy_key(name: PersonName) -> str:
    """Return the key that ``fuzzy_words`` match: ``^word^word^~code^`` of all words, however grouped, and of their sounds."""
    words: dict[str, None] = {}
    for group in [*_groups(name), *_spoken(name)]:
        parts = [part for part in group.split("^") if part]
        words |= dict.fromkeys([*parts, "".join(parts)])
    sounds = dict.fromkeys(f"~{code}" for word in words if (code := sound_of(word)))
    return f"^{'^'.join([*words, *sounds])}^" if words else ""


def fuzzy_words(value: str) -> list[tuple[str, str]]:
    """Return (word, sound or "") of each word asked for: a name fits that has, for each, a word that begins or sounds like it."""
    words = [
        _TONES.sub("", word) for word in fold(value.replace("=", "^").replace("*", "").replace("?", "")).split("^")
    ]
    return [(word, sound_of(word)) for word in words if word]


_SOUNDEX = {letter: str(n) for n, group in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), 1) for letter in group}


def sound_of(word: str) -> str:
    """Return the word's Soundex (Russell and Odell 1918), with pinyin's zh, ch, sh, ng as z, c, s, n; "" for other scripts."""
    letters = [one for one in word if "a" <= one <= "z"]
    if len(letters) < 2 or len(letters) < len(word):
        return ""
    plain = re.sub(r"([zcs])h", r"\1", word)
    plain = re.sub(r"ng\b|ng(?=[^aeiou])", "n", plain)
    code, last = plain[0], _SOUNDEX.get(plain[0], "")
    for letter in plain[1:]:
        digit = _SOUNDEX.get(letter, "")
        if digit and digit != last:
            code += digit
        if letter not in "hw":
            last = digit
    return f"{code}000"[:4] if len(code) > 1 else ""


def encode(folded: str) -> str:
    """Return folded text as letters, digits and blanks; wildcards stay."""
    return "".join(
        [one if one in _PLAIN or one in "*?" else " " if one in _SEPARATORS else f"u{ord(one):x}" for one in folded]
    )


def search_text(name: PersonName, *others: str) -> str:
    """Return the haystack of free search and of the trigram index: blanks around every word, names also without their blanks."""
    folded = [*_groups(name), *_spoken(name), *(fold(other) for other in others)]
    words: dict[str, None] = {}
    for part in folded:
        if part:
            words |= dict.fromkeys([encode(part), encode(part.replace("^", ""))])
    return f" {' '.join(words)} " if words else " "
