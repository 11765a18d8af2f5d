"""De-identify files one after the other: new names, nothing replaced, what needs a person apart, and a report of it all.

Flows in: a file or folder; flows out: ``OUT/<study>/<series>/<instance>.dcm`` for what is ready and ``OUT/needs-person/...`` for what
somebody must look at, each with its new UIDs as names (an old name may hold a patient's), and ``report.json`` without any value.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from consilium_core.errors import ConsiliumError, Invalid
from consilium_dicom.deid.options import Options, parse_options
from consilium_dicom.deid.profiles import DeviceProfile, read_profile
from consilium_dicom.deid.run import RISKS, Deidentified, deidentify
from consilium_dicom.header import read_header

_MOST_BYTES = 4 << 30
_DONE, _FAILED, _NEEDS_PERSON = 0, 1, 3


class NotDeidentifiable(Invalid):
    """What was given cannot be de-identified as asked; ``detail`` says what to change."""

    code = "deidentify-refused"


@dataclass(frozen=True, slots=True)
class Ask:
    """What the command line asked for."""

    source: Path
    target: Path
    options: str
    profiles: tuple[Path, ...]
    key: Path | None
    shift_days: int | None
    report: Path | None


def run_deidentify(ask: Ask) -> int:
    """De-identify everything and print the sums; return the exit code."""
    if not ask.source.exists():
        raise NotDeidentifiable(f"{ask.source} does not exist")
    if ask.target.resolve().is_relative_to(ask.source.resolve()):
        raise NotDeidentifiable("OUT lies inside IN: its files would be taken for input")
    ask.target.mkdir(parents=True, exist_ok=True)
    key = _key(ask.key or ask.target.resolve().parent / "deidentify.key")
    options = Options(key, parse_options(ask.options), ask.shift_days)
    profiles = [_profile(path) for path in ask.profiles]
    written: dict[Path, int] = {}
    lines = [_one(path, number, ask, options, profiles, written) for number, path in enumerate(_files(ask.source), 1)]
    counts = Counter(str(line["state"]) for line in lines)
    risks = sorted({risk for line in lines for risk in line.get("risks", ())})
    whole = {
        "options": ask.options,
        "counts": dict(counts),
        "risks": {risk: RISKS[risk] for risk in risks},
        "files": lines,
    }
    place = ask.report or ask.target / "report.json"
    place.write_text(json.dumps(whole, indent=1, ensure_ascii=False), encoding="utf-8")
    sys.stdout.write(
        f"{counts['ready']} ready, {counts['needs-person']} need a person, {counts['failed']} failed, "
        f"{counts['skipped']} are no DICOM. Report: {place}\n"
    )
    for risk in risks:
        sys.stdout.write(f"  {risk}: {RISKS[risk]}\n")
    sys.stdout.write("No method guarantees anonymity: the report names the risks that are known to be left.\n")
    return _FAILED if counts["failed"] else _NEEDS_PERSON if counts["needs-person"] else _DONE


def _files(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
        return
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                yield path


def _one(
    path: Path, number: int, ask: Ask, options: Options, profiles: list[DeviceProfile], written: dict[Path, int]
) -> dict[str, Any]:
    """Return one file's line of the report: its number in order, for its name may identify somebody.

    ``written`` says which number of this run made which file.
    """
    target = ask.target
    try:
        if path.stat().st_size > _MOST_BYTES:
            return {"number": number, "state": "failed", "why": "the file is larger than 4 GiB"}
        data = path.read_bytes()
    except OSError as error:
        return {"number": number, "state": "failed", "why": f"the file cannot be read: {error.strerror}"}
    if data[128:132] != b"DICM" and path.suffix.lower() not in {".dcm", ".dicom"}:
        return {"number": number, "state": "skipped"}
    try:
        made = deidentify(data, options, profiles)
    except ConsiliumError as error:
        return {"number": number, "state": "failed", "why": error.detail}
    state = "needs-person" if made.needs_person else "ready"
    place, kept = _write(target / "needs-person" if made.needs_person else target, made)
    if not kept:
        first = written.get(place)
        why = f"number {first} has the same UIDs and other content" if first else "OUT has another file of these UIDs"
        return {"number": number, "state": "failed", "why": why, "file": str(place.relative_to(target))}
    written.setdefault(place, number)
    return {
        "number": number,
        "state": state,
        "file": str(place.relative_to(target)),
        "risks": list(made.risks),
        "codes": list(made.codes),
        "mask": made.mask,
        "text": made.text.verdict if made.text else "not looked at",
        "boxes": [list(box) for box in made.text.boxes] if made.text else [],
        "done": [f"{one.path} {one.action}" for one in made.done],
    }


def _write(target: Path, made: Deidentified) -> tuple[Path, bool]:
    """Return where the file belongs, and whether it is there now: nothing is replaced."""
    header = read_header(made.data)
    place = target / (header.study_uid or "study") / (header.series_uid or "series") / f"{made.sop_instance_uid}.dcm"
    place.parent.mkdir(parents=True, exist_ok=True)
    half = place.with_suffix(".part")
    half.write_bytes(made.data)
    try:
        os.link(half, place)
    except FileExistsError:
        return place, place.read_bytes() == made.data
    finally:
        half.unlink()
    return place, True


def _key(path: Path) -> bytes:
    """Return the secret; a new one is readable by its owner alone."""
    if path.exists():
        key = path.read_bytes().strip()
        if len(key) < 16:
            raise NotDeidentifiable(f"{path} holds fewer than 16 bytes: that is no key")
        return key
    key = secrets.token_hex(32).encode()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    return key


def _profile(path: Path) -> DeviceProfile:
    try:
        return read_profile(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise NotDeidentifiable(f"the profile {path} cannot be used: {error}") from error
