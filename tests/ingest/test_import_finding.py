"""What an import finds: folders, ZIP archives and media are read whole, and strangers' archives are fenced."""

from __future__ import annotations

import gc
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.fileset import FileSet

from consilium_ingest.importing.errors import ImportEmpty
from consilium_ingest.importing.sources import Found, Unusable, Walker, measure
from consilium_ingest.importing.zips import ZipLimits
from consilium_testkit.instances import ct_instance
from consilium_testkit.packs import files_below, zipped


def found_in(work: Path, *paths: Path, limits: ZipLimits | None = None) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return ({name: bytes} of what was found, {name: code} of what can't be used); nothing may be left in ``work``."""
    work.mkdir(exist_ok=True)
    files: dict[str, bytes] = {}
    unusable: dict[str, str] = {}
    for one in Walker(work, limits).walk(paths):
        if isinstance(one, Unusable):
            unusable[one.name] = one.refusal.code
        else:
            files[one.name] = one.path.read_bytes()
            one.discard()
    assert list(work.iterdir()) == []
    return files, unusable


# -- finding -------------------------------------------------------------------------------------------------------


def test_a_folder_is_walked_and_only_dicom_is_taken(tmp_path: Path) -> None:
    root = tmp_path / "cd"
    made = files_below(root / "a" / "b", 2)
    bare = ct_instance(side=16)[132:]
    (root / "bare").write_bytes(bare)  # no preamble, no prefix
    for name, data in (
        ("README.TXT", b"read me"),
        ("viewer.exe", b"MZ" + bytes(500)),
        ("empty", b""),
        ("p.jpg", b"\xff\xd8\xff\xe0"),
    ):
        (root / name).write_bytes(data)
    (root / "link").symlink_to(tmp_path)
    (root / "linked").symlink_to(next(iter(made)))
    files, unusable = found_in(tmp_path / "work", root)
    assert files == {str(path): data for path, data in made.items()} | {str(root / "bare"): bare}
    assert unusable == {}
    walker = Walker(tmp_path / "work")
    assert sum(isinstance(one, Found) for one in walker.walk([root])) == 3
    assert (walker.left, walker.read_bytes) == (4, measure([root]))


def test_a_path_that_is_not_there_is_said_before_anything_is_done(tmp_path: Path) -> None:
    files_below(tmp_path / "a", 1)
    with pytest.raises(ImportEmpty, match="nothing at"):
        next(Walker(tmp_path).walk([tmp_path / "a", tmp_path / "b"]))


def test_zip_archives_are_read_where_they_lie_and_inside_each_other(tmp_path: Path) -> None:
    one, two, three = (ct_instance(side=16) for _ in range(3))
    inner = zipped({"deep/three.dcm": three, "note.txt": b"x"})
    outer = tmp_path / "outer.zip"
    outer.write_bytes(zipped({"one": one, "dir/two.dcm": two, "dir/inner.zip": inner, "readme": b"x"}))
    files, unusable = found_in(tmp_path / "work", outer)
    assert files == {f"{outer}!one": one, f"{outer}!dir/two.dcm": two, f"{outer}!dir/inner.zip!deep/three.dcm": three}
    assert unusable == {}


@pytest.fixture
def medium(tmp_path: Path, shared_data: Path) -> Path:
    """Return the root of a medium with a DICOMDIR, as pydicom writes one."""
    made = FileSet()
    for path in sorted((shared_data / "ct_lidc0314_orig10").glob("*.dcm"))[:4]:
        ds = dcmread(path)
        ds.StudyTime, ds.StudyID = ds.StudyTime or "101112", ds.get("StudyID") or "1"  # a directory record needs them
        made.add(ds)
    root = tmp_path / "medium"
    made.write(root)
    with warnings.catch_warnings(
        action="ignore", category=ResourceWarning
    ):  # pydicom leaves its staging folder to the collector
        del made
        gc.collect()
    return root


def test_a_dicomdir_is_read_and_not_believed_alone(medium: Path, tmp_path: Path) -> None:
    listed = sorted(path for path in medium.rglob("*") if path.is_file() and path.name != "DICOMDIR")
    assert len(listed) == 4
    extra = medium / "EXTRA"
    extra.write_bytes(ct_instance(side=16))
    listed[0].unlink()
    listed[1].rename(listed[1].with_name(listed[1].name.lower()))  # as some systems show ISO 9660
    listed[2].write_bytes(b"was damaged on the medium")
    for start in (medium, medium / "DICOMDIR"):
        files, unusable = found_in(tmp_path / "work", start)
        names = {listed[1].with_name(listed[1].name.lower()), listed[2], listed[3], extra}
        assert set(files) == {
            str(path) for path in names
        }  # what is listed and no DICOM is taken, to be refused by name
        [(missing, code)] = unusable.items()
        assert code == "listed-file-missing"
        assert missing.endswith(str(listed[0].relative_to(medium)))


def test_a_medium_in_a_zip_and_a_broken_dicomdir(medium: Path, tmp_path: Path) -> None:
    whole = {str(path.relative_to(medium)): path.read_bytes() for path in medium.rglob("*") if path.is_file()}
    pack = tmp_path / "medium.zip"
    pack.write_bytes(zipped({f"disc/{name}": data for name, data in whole.items()}))
    files, unusable = found_in(tmp_path / "work", pack)
    assert (len(files), unusable) == (4, {})
    broken = {name: data[: len(data) // 2] if name == "DICOMDIR" else data for name, data in whole.items()}
    pack.write_bytes(zipped(broken))
    files, unusable = found_in(tmp_path / "work", pack)
    assert (len(files), unusable) == (4, {f"{pack}!DICOMDIR": "dicomdir-broken"})


# -- hostile ZIP archives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../out.dcm", "a/../../out.dcm", "/etc/out.dcm", "C:\\out.dcm", "..\\out.dcm"])
def test_a_name_that_leads_out_is_refused_and_the_rest_is_taken(tmp_path: Path, name: str) -> None:
    pack, good = tmp_path / "slip.zip", ct_instance(side=16)
    pack.write_bytes(zipped({name: ct_instance(side=16), "good": good}))
    files, unusable = found_in(tmp_path / "work", pack)
    assert files == {f"{pack}!good": good}
    assert list(unusable.values()) == ["zip-hostile"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slip.zip", "work"]


def test_a_bomb_is_refused_by_ratio_by_total_and_by_number(tmp_path: Path) -> None:
    work, good = tmp_path / "work", ct_instance(side=16)
    pack = tmp_path / "bomb.zip"
    small = ZipLimits(free_bytes=1 << 20, ratio=10, total_free_bytes=8 << 20)
    pack.write_bytes(zipped({"bomb": bytes(4 << 20), "good": good}))
    assert found_in(work, pack, limits=small) == ({f"{pack}!good": good}, {f"{pack}!bomb": "zip-hostile"})
    pack.write_bytes(zipped({f"{number}": b"\0" * (1 << 20) for number in range(20)} | {"late": good}))
    assert found_in(work, pack, limits=small) == ({}, {str(pack): "zip-hostile"})
    pack.write_bytes(zipped({f"{number}": b"x" for number in range(101)}))
    assert found_in(work, pack, limits=ZipLimits(members=100)) == ({}, {str(pack): "zip-hostile"})
    nested = zipped({"bomb.zip": zipped({f"{n}": b"\0" * (1 << 20) for n in range(20)}), "good": good})
    pack.write_bytes(nested)  # what is nested counts for the outermost
    assert found_in(work, pack, limits=small)[1] == {str(pack): "zip-hostile"}


def test_nesting_is_bounded(tmp_path: Path) -> None:
    data, pack = zipped({"x": ct_instance(side=16)}), tmp_path / "deep.zip"
    for _ in range(5):
        data = zipped({"in.zip": data})
    pack.write_bytes(data)
    assert found_in(tmp_path / "work", pack) == ({}, {f"{pack}!in.zip!in.zip!in.zip": "zip-hostile"})


def test_a_directory_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    pack = tmp_path / "wide.zip"
    whole = bytearray(zipped({"x": b"x"}))
    end = whole.rfind(b"PK\x05\x06")
    whole[end + 12 : end + 16] = struct.pack("<I", 1 << 30)
    pack.write_bytes(whole)
    assert found_in(tmp_path / "work", pack) == ({}, {str(pack): "zip-hostile"})


def test_what_is_broken_or_encrypted_is_named_and_the_rest_is_taken(tmp_path: Path) -> None:
    pack, good, work = tmp_path / "pack.zip", ct_instance(side=16), tmp_path / "work"
    whole = bytearray(zipped({"bad": ct_instance(side=16), "good": good}, zipfile.ZIP_STORED))
    whole[1000] ^= 0xFF  # inside the first member
    pack.write_bytes(whole)
    assert found_in(work, pack) == ({f"{pack}!good": good}, {f"{pack}!bad": "zip-broken"})
    pack.write_bytes(whole[: len(whole) // 2])
    assert found_in(work, pack) == ({}, {str(pack): "zip-broken"})
    whole = bytearray(zipped({"secret": good}, zipfile.ZIP_STORED))
    whole[6] |= 1
    whole[whole.rfind(b"PK\x01\x02") + 8] |= 1
    pack.write_bytes(whole)
    assert found_in(work, pack) == ({}, {f"{pack}!secret": "zip-broken"})
