"""What is read of a file by its likeness to another is what reading it from the first byte on gives."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pydicom.data
import pytest

from consilium_dicom.errors import DicomInvalid
from consilium_dicom.header import Header, header_of
from consilium_dicom.json_text import to_json_text
from consilium_dicom.likeness import Kinds
from consilium_dicom.scan import Scan, scan
from consilium_dicom.validate import validate
from consilium_testkit.instances import ct_instance, uids_of

BASE = "/dicomweb/studies/1/series/2/instances/3/bulkdata"


def learned(data: bytes) -> Kinds | None:
    """Return kinds that know the file, None for one that the archive does not learn from."""
    kinds, run = Kinds(), validate(data, decode="none")
    if run.verdict == "reject" or run.source is None or run.header is None:
        return None
    if any(found.level == "V1" for found in run.findings):
        return None
    kinds.learn(run.source, run.header)
    return kinds


def read_anew(data: bytes) -> tuple[Scan, Header, str] | None:
    try:
        source = scan(data)
        header = header_of(source)
        return source, header, to_json_text(source, header, BASE)
    except DicomInvalid:
        return None


def check(kinds: Kinds, data: bytes) -> bool:
    """Compare; False if the file is not like what is known."""
    like = kinds.find(data)
    if like is None:
        return False
    anew = read_anew(data)
    assert anew is not None, "what can't be read is like nothing"
    source, header, text = anew
    assert replace(like.source, buffer=b"") == replace(source, buffer=b"")
    assert like.header == header
    assert like.json_text(BASE) == text
    mine = validate(data, like.header, source=like.source, decode="none")
    assert mine.findings == validate(data, decode="none").findings
    return True


def mutated(data: bytes, head: int, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(132, head)
        out[at] = chance.choice((out[at] ^ 1, chance.randrange(256), ord("1"), 0, 0x5C, 0xC4))
    return bytes(out)


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.dcm")) if path.stat().st_size < 2 << 20]


@pytest.mark.parametrize("where", ["pydicom", "shared"])
def test_every_file_and_its_mutations_are_read_as_anew(where: str, request: pytest.FixtureRequest) -> None:
    shipped = Path(pydicom.data.__file__).parent / "test_files"
    chance = random.Random(5)
    known = like = unlike = 0
    for path in files(shipped if where == "pydicom" else request.getfixturevalue("shared_data")):
        data = path.read_bytes()
        kinds = learned(data)
        if kinds is None or not check(kinds, data):
            continue
        known += 1
        head = header_of(scan(data)).pixel_offset
        for _ in range(60):
            if check(kinds, mutated(data, head, chance)):
                like += 1
            else:
                unlike += 1
    assert known > 20
    assert like > 5 * known
    assert unlike > 5 * known


def test_the_instances_of_a_series_are_alike() -> None:
    data = ct_instance(side=16, InstanceNumber="17", ImagePositionPatient=["1.5", "2.5", "3.5"], ContentTime="101500")
    _, _, sop = uids_of(data)
    other = sop[:-2] + ("77" if sop[-2:] != "77" else "78")
    sibling = data.replace(sop.encode(), other.encode()).replace(b"101500", b"101501").replace(b"3.5", b"4.5")
    kinds = learned(data)
    assert kinds is not None
    assert check(kinds, sibling)
    like = kinds.find(sibling)
    assert like is not None
    assert (like.header.sop_instance_uid, like.header.content_time) == (other, "101501")


@pytest.mark.parametrize(
    ("was", "is_"),
    [
        (b"ISO_IR 192", b"ISO_IR 100"),
        (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"),
    ],
)
def test_what_others_depend_on_makes_another_kind(was: bytes, is_: bytes) -> None:
    data = ct_instance(side=16, SpecificCharacterSet="ISO_IR 192")
    kinds = learned(data)
    assert kinds is not None
    assert was in data
    assert kinds.find(data) is not None
    assert kinds.find(data.replace(was, is_)) is None


def test_another_length_is_another_kind() -> None:
    data = ct_instance(side=16)
    kinds = learned(data)
    assert kinds is not None
    assert kinds.find(data[:-2]) is None
    assert kinds.find(data + b"\0\0") is None
    assert kinds.find(b"") is None


def test_the_oldest_kind_is_forgotten() -> None:
    data = [ct_instance(side=8, StudyDescription=f"Study {number}") for number in range(3)]
    kinds = Kinds(most=2)
    for one in data:
        run = validate(one)
        assert run.source is not None
        assert run.header is not None
        kinds.learn(run.source, run.header)
    assert [kinds.find(one) is not None for one in data] == [False, True, True]
    assert kinds.find(data[1]) is not None
    kinds.learn(scan(data[0]), header_of(scan(data[0])))
    assert [kinds.find(one) is not None for one in data] == [True, True, False]
