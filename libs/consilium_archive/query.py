"""QIDO-RS query parameters as a typed query (PS3.18 8.3.4, 10.6.1).

A key that this archive can't match is refused, not ignored: an ignored filter would show the wrong patients.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from consilium_archive.errors import QueryInvalid
from consilium_archive.keys import Key, Level, key_of, known, path_of, tag_of

__all__ = ["Level", "Match", "PageRule", "Query", "parse_query"]

_RANGE = re.compile(r"^(\d{8}|\d{4}-\d{2}-\d{2}|)(?:(-)(\d{8}|\d{4}-\d{2}-\d{2}|))?$")
_TIME = re.compile(r"^(\d{2,6}(?:\.\d{1,6})?|)(?:(-)(\d{2,6}(?:\.\d{1,6})?|))?$")
_NUMBER = re.compile(r"-?\d{1,9}")
_EMPTY = '""'
_MOST_VALUES = 1000
# What answers can be ordered by: the column at the level of studies.
_ORDERS = {
    "StudyDate": "study_date", "PatientName": "name_sort", "PatientID": "patient_id",
    "AccessionNumber": "accession_number",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Match:
    """One condition. ``values``: alternatives; for a range exactly (from, to), either may be empty; ``empty``: nothing is there."""

    key: Key
    values: tuple[str, ...]
    ranged: bool = False
    fuzzy: bool = False
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """How studies are ordered: by a column; ties always by id."""

    column: str = "study_date"
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for: conditions, page, order, and attributes beyond the level's usual ones (dotted tags; ``all``)."""

    level: Level
    matches: tuple[Match, ...] = ()
    limit: int = 50
    offset: int = 0
    include: frozenset[str] = field(default_factory=frozenset)
    fuzzy: bool = False
    asked: tuple[str, ...] = ()
    order: Order = field(default_factory=Order)


@dataclass(frozen=True, slots=True)
class PageRule:
    """How many answers a page holds unless asked, and at most."""

    usual: int = 50
    most: int = 200


@dataclass(frozen=True, slots=True)
class _Rules:
    """Which optional ways of matching the request turns on (PS3.18 table 8.3.4-1)."""

    fuzzy: bool
    empty: bool
    multiple: bool


def parse_query(level: Level, parameters: Iterable[tuple[str, str]], page: PageRule) -> Query:
    """Return the query; raise QueryInvalid for what can't be matched."""
    include: set[str] = set()
    values: dict[str, list[str]] = {}
    said: dict[str, str] = {}
    for name, value in parameters:
        lowered = name.lower()
        if "\ufffd" in value:
            raise QueryInvalid(f"The value of {name[:64]} is not percent-encoded UTF-8.", parameter=name[:64])
        if lowered == "includefield":
            include |= {_field(word.strip()) for word in value.split(",") if word.strip()}
        elif lowered in _RESERVED:
            said[lowered] = value
        else:
            values.setdefault(name, []).append(value)
    on = {name for name in _SWITCHES if _said_true(name, said.get(name, "false"))}
    rules = _Rules("fuzzymatching" in on, "emptyvaluematching" in on, "multiplevaluematching" in on)
    matches = tuple(match for name, given in values.items() for match in _match(level, name, given, rules))
    limit = min(_count("limit", said["limit"]), page.most) if "limit" in said else page.usual
    offset = _count("offset", said["offset"]) if "offset" in said else 0
    order = _order(said["orderby"], level) if "orderby" in said else Order()
    return Query(level, matches, limit, offset, frozenset(include), rules.fuzzy, tuple(sorted(values)), order)


_RESERVED = frozenset(
    {"limit", "offset", "fuzzymatching", "emptyvaluematching", "multiplevaluematching", "accept", "charset", "orderby"}
)


_SWITCHES = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")


def _said_true(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise QueryInvalid(f"{name} is true or false, not {value[:20]!r}.", parameter=name)
    return value.lower() == "true"


def _count(name: str, value: str) -> int:
    if not value.isdecimal() or len(value) > 9:
        raise QueryInvalid(f"{name} is a number of answers, not {value[:20]!r}.", parameter=name)
    return int(value)


def _order(value: str, level: Level) -> Order:
    """Return the order of ``orderby=[-]Keyword`` (our own parameter; the standard leaves the order open)."""
    column = _ORDERS.get(value.lstrip("-"))
    if column is None or level is not Level.STUDY:
        raise QueryInvalid(
            f"Studies are ordered by {', '.join(_ORDERS)}, with - before it downwards.", parameter="orderby"
        )
    return Order(column, value.startswith("-"))


def _field(word: str) -> str:
    path = word if word == "all" else path_of(word)
    if not path:
        raise QueryInvalid(f"includefield names an unknown attribute: {word[:64]}.", parameter="includefield")
    return path


def _match(level: Level, name: str, given: list[str], rules: _Rules) -> list[Match]:
    key = key_of(name)
    if key is None or key.level > level:
        raise QueryInvalid(
            f"{name[:64]} can't be matched at this level. Known keys: {', '.join(known(level))}, and keys below sequences such as "
            "RequestAttributesSequence.ScheduledProcedureStepID.",
            parameter=name[:64],
        )
    present = [value.strip() for value in given if value.strip() not in ("", "*")]
    if rules.empty and _EMPTY in present:  # PS3.4 C.2.2.2.9
        return [Match(key, (), empty=True)]
    if rules.multiple and key.kind in ("text", "name", "date", "time"):  # PS3.4 C.2.2.2.8
        listed = [[part.strip() for part in value.split("\\") if part.strip()] for value in present]
    else:
        listed = [[value] for value in present]
    if sum(map(len, listed)) > _MOST_VALUES:
        raise QueryInvalid(f"{name} lists more than {_MOST_VALUES} values.", parameter=name)
    return _by_kind(name, key, listed, fuzzy=rules.fuzzy) if listed else []  # else universal (PS3.4 C.2.2.2.3)


def _by_kind(name: str, key: Key, listed: list[list[str]], *, fuzzy: bool) -> list[Match]:
    every = [value for values in listed for value in values]
    if key.kind in ("date", "time"):
        if max(map(len, listed)) == 1:
            return [_range(name, key, value) for value in every]
        singles = [_range(name, key, value) for value in every]
        if any(one.ranged for one in singles):
            raise QueryInvalid(f"{name} lists values or a range, not both.", parameter=name)
        return [Match(key, tuple(one.values[0] for one in singles))]
    if key.kind == "number":
        if not all(_NUMBER.fullmatch(value) for value in every):
            raise QueryInvalid(f"{name} is a number.", parameter=name)
        return [Match(key, tuple(every))]
    if key.kind in ("uid", "set"):
        parts = tuple(part.strip() for value in every for part in re.split(r"[\\,]", value) if part.strip())
        if len(parts) > _MOST_VALUES:
            raise QueryInvalid(f"{name} lists more than {_MOST_VALUES} values.", parameter=name)
        return [Match(key, parts)]
    return [Match(key, tuple(values), fuzzy=fuzzy and key.kind == "name") for values in listed]


def _range(name: str, key: Key, value: str) -> Match:
    found = (_RANGE if key.kind == "date" else _TIME).match(value.replace(":", "") if key.kind == "time" else value)
    if found is None or (not found[1] and not found[3]):
        raise QueryInvalid(f"{name} is a {key.kind} or a range FROM-TO, not {value[:40]!r}.", parameter=name)
    low, high = (found[1] or "").replace("-", ""), (found[3] or "").replace("-", "")
    if not found[2]:
        return Match(key, (low,))
    return Match(key, (low, high), ranged=True)


def tags_of(fields: frozenset[str]) -> frozenset[str]:
    """Return the outermost tags of the fields that are asked for."""
    return frozenset(tag_of(one.split(".", 1)[0]) for one in fields if one != "all")
