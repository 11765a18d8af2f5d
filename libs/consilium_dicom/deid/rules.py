"""What becomes of one element: Table E.1-1 with the options that are on, and what the table leaves to the VR (PS3.15 E.3).

Where the table lets the IOD choose (X/Z, X/D, X/Z/D) the stronger demand is met: a value that carries nothing stays in place of the
element, so that no object becomes less conformant. That is as safe as leaving it out.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from pydicom.datadict import dictionary_has_tag, tag_for_keyword

from consilium_dicom.deid.options import Option, Options
from consilium_dicom.deid.table_e1 import BEYOND, E1


class Action(StrEnum):
    """What is done to one element."""

    KEEP = "keep"
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    UID = "uid"
    SHIFT = "shift"
    CLEAN = "clean"
    GRAPHICS = "clean-graphics"


_BASIC = {
    "X": Action.REMOVE, "Z": Action.EMPTY, "D": Action.DUMMY, "U": Action.UID, "X/Z": Action.EMPTY, "X/D": Action.DUMMY,
    "X/Z/D": Action.DUMMY, "Z/D": Action.DUMMY, "X/Z/U*": Action.CLEAN,
}  # fmt: skip
_RETAIN = {
    "device": Option.DEVICE,
    "patient": Option.PATIENT,
    "institution": Option.INSTITUTION,
    "uids": Option.UIDS,
}
_CLEAN = {"descriptors": Option.CLEAN_DESCRIPTORS, "structured": Option.CLEAN_STRUCTURED}
_DATES = frozenset({b"DA", b"DT", b"TM"})
_CURVE, _OVERLAY, _OVERLAY_DATA, _OVERLAY_COMMENTS = 0x5000, 0x6000, 0x3000, 0x4000
_CONTENT_DATES = frozenset({0x0040A120, 0x0040A121, 0x0040A122})  # values of content items, whose type demands one
_NEVER_EMPTY = frozenset({0x00081110})  # X/Z, but where it stands it has an item (C.7.2.1)
_OURS = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303, 0x00280302})


@cache
def table() -> dict[int, tuple[Action, dict[str, str]]]:
    """Return {tag: (action of the basic profile, {option column: K or C})}."""
    found = {}
    for groups in (BEYOND, E1):
        for rule, keywords in groups.items():
            basic, *columns = rule.split(" ")
            options = {name: to or "K" for name, _, to in (column.partition("=") for column in columns)}
            for keyword in keywords.split():
                tag = tag_for_keyword(keyword)
                if tag is None:
                    raise KeyError(keyword)
                found[tag] = (_BASIC[basic], options)
    return found


def action_for(tag: int, vr: bytes, options: Options) -> Action:
    """Return what is done to a public element; private ones are judged by ``private``."""
    group = tag >> 16
    if tag in _OURS:
        return Action.REMOVE  # written anew
    if group & 0xFF01 == _CURVE:
        return Action.REMOVE
    if group & 0xFF01 == _OVERLAY:
        return _overlay(tag, options)
    known = table().get(tag)
    if known is None:
        return _by_vr(tag, vr, options)
    basic, columns = known
    basic = Action.REMOVE if tag in _NEVER_EMPTY and basic is Action.EMPTY else basic
    if "dates" in columns:
        return _dated(vr, basic, options)
    for column, kind in columns.items():
        if column in _RETAIN and options.has(_RETAIN[column]):
            return Action.KEEP if kind == "K" else Action.CLEAN
        if column in _CLEAN and options.has(_CLEAN[column]):
            return Action.CLEAN
        if column == "graphics" and options.has(Option.CLEAN_GRAPHICS):
            return Action.GRAPHICS
    return basic


def _dated(vr: bytes, basic: Action, options: Options) -> Action:
    if vr == b"SH" and {Option.FULL_DATES, Option.MODIFIED_DATES} & options.chosen:
        return Action.CLEAN  # the time zone: a text, whatever else may stand there
    if options.has(Option.FULL_DATES):
        return Action.KEEP
    if options.has(Option.MODIFIED_DATES):
        return Action.SHIFT if vr in {b"DA", b"DT"} else Action.KEEP if vr == b"TM" else basic
    return basic


def _overlay(tag: int, options: Options) -> Action:
    """60xx: comments and labels go, the bitmap goes unless graphics are cleaned, its geometry stays."""
    element = tag & 0xFFFF
    if element == _OVERLAY_DATA:
        return Action.GRAPHICS if options.has(Option.CLEAN_GRAPHICS) else Action.REMOVE
    return Action.REMOVE if element in {_OVERLAY_COMMENTS, 0x0022, 0x1500} else Action.KEEP


def _by_vr(tag: int, vr: bytes, options: Options) -> Action:
    """What the table does not name: names go, dates and UIDs follow their options, unknown elements go, all else is looked through."""
    if not dictionary_has_tag(tag):
        return Action.REMOVE
    if vr == b"PN":
        return Action.EMPTY
    if vr in _DATES:
        return _dated(vr, Action.DUMMY if tag in _CONTENT_DATES else Action.REMOVE, options)
    if vr == b"AE":
        return Action.KEEP if options.has(Option.DEVICE) else Action.REMOVE
    if vr == b"UI":
        return Action.KEEP if options.has(Option.UIDS) else Action.UID
    if vr in {b"UN", b"UR"}:
        return Action.REMOVE
    return Action.CLEAN
