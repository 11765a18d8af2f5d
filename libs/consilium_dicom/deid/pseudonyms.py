"""Keyed stand-ins: UIDs, patient ids and days of shift that nobody can reverse without the key, and that repeat with it."""

from __future__ import annotations

import hashlib
import hmac
from datetime import date, timedelta

_WELL_KNOWN = "1.2.840.10008."
_MOST_SHIFT, _LEAST_SHIFT = 3650, 30


def _digest(key: bytes, kind: str, value: str) -> bytes:
    return hmac.new(key, f"{kind}\0{value}".encode(), hashlib.sha256).digest()


def stand_in_uid(key: bytes, uid: str) -> str:
    """Return the UID that stands for another (PS3.5 B.2); the standard's own UIDs mean no instance and stay."""
    if not uid or uid.startswith(_WELL_KNOWN):
        return uid
    raw = bytearray(_digest(key, "uid", uid)[:16])
    raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80  # a UUID of version 8, RFC 9562
    return f"2.25.{int.from_bytes(raw, 'big')}"


def stand_in_patient(key: bytes, issuer: str, patient_id: str, name: str) -> str:
    """Return a short id for one patient: by id and issuer, or by name where there is no id."""
    return "ANON-" + _digest(key, "patient", _person(issuer, patient_id, name)).hex()[:12].upper()


def days_of_shift(key: bytes, issuer: str, patient_id: str, name: str) -> int:
    """Return by how many days all of a patient's dates go back: 30 days to 10 years, so that intervals stay as they are."""
    number = int.from_bytes(_digest(key, "shift", _person(issuer, patient_id, name))[:8], "big")
    return -(_LEAST_SHIFT + number % (_MOST_SHIFT - _LEAST_SHIFT))


def _person(issuer: str, patient_id: str, name: str) -> str:
    return f"id\0{issuer}\0{patient_id}" if patient_id else f"name\0{name}"


def shifted(text: str, days: int) -> str:
    """Return DA or DT text with its date moved; a date that is none, or is not whole, is lost rather than kept."""
    plain = text.strip()
    if not plain:
        return ""
    digits = plain.replace(".", "") if len(plain) == 10 and plain[4:5] == plain[7:8] == "." else plain
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
        return (day + timedelta(days=days)).strftime("%Y%m%d").rjust(8, "0") + digits[8:]
    except (ValueError, OverflowError):
        return ""
