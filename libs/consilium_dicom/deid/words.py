"""Identities in free text: those that this very object holds elsewhere, and what looks like one (PS3.15 E.3.5).

``identities_of`` gathers the object's own names, ids, places, dates and UIDs before they are removed; ``Cleaner`` takes them out of
every text that stays. ``thorough`` cleaning, for descriptions and reports, also takes what merely looks like a date, a number of a
person, an address or a UID. What a stranger wrote in other words is not found: that risk is part of the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from consilium_dicom.errors import TooLarge

MARK = "[removed]"
_UID = re.compile(r"(?<![\d.])[012]\.\d+(?:\.\d{1,62}){3,60}(?![\d.])")
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-./年 ]?(?:1[0-2]|0?[1-9])[-./月 ]?(?:3[01]|[12]\d|0?[1-9])日?|"
    r"(?:3[01]|[12]\d|0?[1-9])[-./](?:1[0-2]|0?[1-9])[-./](?:19|20)?\d\d)(?!\d)"
)
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,190}")
_LONG_NUMBER = re.compile(r"(?<![\w.])[A-Za-z]{0,4}[-#]?\d(?:[ -]?\d){5,40}[Xx]?(?![\w.])")
_TITLED = re.compile(r"\b(?:Dr|Prof|Mr|Mrs|Ms|Herr|Frau)\.? {1,3}[A-Z][\w'-]{1,40}(?: {1,3}[A-Z][\w'-]{1,40})?")
_SPLIT = re.compile(r"[\\^=,;/\s]+")
_PLAIN_LENGTH = 6
_MOST_WORDS = 4000
_LEAST_ASCII, _LEAST_WIDE = 3, 2
_COMMON = frozenset(
    [
        "anon",
        "anonymous",
        "anonymized",
        "unknown",
        "none",
        "null",
        "test",
        "patient",
        "phantom",
        "name",
        "male",
        "female",
        "other",
        "the",
        "and",
        "with",
        "left",
        "right",
        "head",
        "chest",
        "dr",
        "prof",
        "mr",
        "mrs",
        "ms",
        "md",
        "phd",
        "jr",
        "sr",
    ]
)


class Identities:
    """The words that must not stay: names by their parts, ids and dates whole."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: set[str] = set()

    def add_name(self, value: str) -> None:
        """Take a PN value: each component of each group, and groups written together."""
        for group in re.split(r"[\\=]", value):
            parts = [part.strip(" \0.") for part in group.split("^")]
            self._add(*parts, *_SPLIT.split(" ".join(parts)))
            joined = "".join(parts)
            if joined and not joined.isascii():
                self._add(joined)
            family_given = [part for part in parts[:2] if part]
            if len(family_given) == 2:
                self._add(" ".join(family_given), " ".join(reversed(family_given)))

    def add_text(self, value: str) -> None:
        """Take an id, a place or another text, each value of it whole."""
        self._add(*(part.strip(" \0") for part in value.split("\\")))

    def add_date(self, value: str) -> None:
        """Take a DA or DT value: as it stands, and the day as people write it."""
        for part in value.split("\\"):
            day = part.strip(" \0").replace(".", "")[:8]
            if len(day) == 8 and day.isdecimal():
                year, month, date = day[:4], day[4:6], day[6:]
                self._add(day, f"{year}-{month}-{date}", f"{year}/{month}/{date}", f"{year}.{month}.{date}")
                self._add(f"{date}.{month}.{year}", f"{date}/{month}/{year}", f"{month}/{date}/{year}")

    def _add(self, *words: str) -> None:
        for word in words:
            if word.casefold() not in _COMMON and len(word) >= (_LEAST_ASCII if word.isascii() else _LEAST_WIDE):
                self._words.add(word)
        if len(self._words) > _MOST_WORDS:
            raise TooLarge("more identities than any object names")

    def __iter__(self) -> Iterator[str]:
        """Yield the words, the longest first."""
        return iter(sorted(self._words, key=lambda word: (-len(word), word)))

    def pattern(self) -> re.Pattern[str] | None:
        """Return what finds any of them; short ones only as words of their own."""
        if not self._words:
            return None
        pieces = [
            re.escape(word)
            if len(word) >= _PLAIN_LENGTH or not word.isascii()
            else rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"
            for word in self
        ]
        return re.compile("|".join(pieces), re.IGNORECASE)


class Cleaner:
    """Takes identities out of texts, and remembers what it saw."""

    __slots__ = ("_keep_dates", "_keep_uids", "_known", "found", "kept_prose")

    def __init__(self, identities: Identities, *, keep_dates: bool, keep_uids: bool) -> None:
        self._known = identities.pattern()
        self._keep_dates = keep_dates
        self._keep_uids = keep_uids
        self.found = 0
        self.kept_prose = 0

    def clean(self, text: str, *, thorough: bool = False) -> str:
        """Return the text without identities; each is replaced by a mark."""
        out = self._take(_MAIL, text)
        if not self._keep_uids:
            out = self._take(_UID, out)
        if self._known is not None:
            out = self._take(self._known, out)
        if thorough:
            if not self._keep_dates:
                out = self._take(_DATE, out)
            for pattern in (_TITLED, _LONG_NUMBER):
                out = self._take(pattern, out)
        return out

    def _take(self, pattern: re.Pattern[str], text: str) -> str:
        out, count = pattern.subn(MARK, text)
        self.found += count
        return out
