"""Text under a wrong or missing label is read right, or called unsafe; never read wrong, and never changed (D5)."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium_dicom.charset import decode
from consilium_dicom.charset_repair import CharsetReading, assess
from consilium_dicom.header import read_header
from consilium_dicom.json_model import to_json_model
from consilium_dicom.json_text import to_json_text
from consilium_dicom.scan import scan
from consilium_dicom.validate import validate
from consilium_testkit.instances import ct_instance

NAME, PLACE = 0x00100010, 0x00080080
ESCAPED_CHINESE = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
ESCAPED_JAPANESE = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B="


def reading(stated: bytes, *values: bytes) -> CharsetReading:
    return assess(stated, tuple(zip((NAME, PLACE), values, strict=False)))


def object_with(stated: str | None, name: bytes, place: bytes = b"") -> bytes:
    """Return an image whose label and bytes are these."""
    dataset = pydicom.dcmread(
        io.BytesIO(ct_instance(side=16, SpecificCharacterSet=None, PatientName="A", InstitutionName="B"))
    )
    if stated is not None:
        dataset.add_new(0x00080005, "CS", stated)
    dataset.add_new(NAME, "PN", name)
    dataset.add_new(PLACE, "LO", place)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("stated", "raw", "text", "term"),
    [
        (b"ISO_IR 100", "王^小明".encode("gbk"), "王^小明", "GB18030"),
        (b"ISO_IR 100", "Wang^Xiaoming=王^小明".encode("gbk"), "Wang^Xiaoming=王^小明", "GB18030"),
        (b"", "张三".encode("gbk"), "张三", "GB18030"),
        (b"ISO_IR 6", "欧阳^喆镕".encode("gb18030"), "欧阳^喆镕", "GB18030"),
        (b"ISO_IR 192", "王^小明".encode("gbk"), "王^小明", "GB18030"),
        (b"ISO_IR 100", "王^小明".encode(), "王^小明", "ISO_IR 192"),
        (b"", "Müller^Jörg".encode(), "Müller^Jörg", "ISO_IR 192"),
        (b"ISO_IR 100", "Müller^Jörg".encode(), "Müller^Jörg", "ISO_IR 192"),
        (b"GB18030", "王^小明".encode(), "王^小明", "ISO_IR 192"),
        (b"", "홍^길동".encode("euc_kr"), "홍^길동", "ISO 2022 IR 149"),
        (b"ISO_IR 100", "김^희중".encode("euc_kr"), "김^희중", "ISO 2022 IR 149"),
        (b"\\ISO 2022 IR 149", "김^희중".encode("euc_kr"), "김^희중", "ISO 2022 IR 149"),
        (b"", "山田^太郎=やまだ^たろう".encode("shift_jis"), "山田^太郎=やまだ^たろう", "ISO_IR 13"),
        (b"ISO_IR 100", "山田^太郎".encode("shift_jis"), "山田^太郎", "ISO_IR 13"),
        (b"\\ISO 2022 IR 58", "张^小东".encode("gb2312"), "张^小东", "ISO 2022 IR 58"),
        (b"", ESCAPED_CHINESE, "Zhang^XiaoDong=张^小东=", "ISO 2022 IR 6\\ISO 2022 IR 58"),
        (b"ISO_IR 100", ESCAPED_JAPANESE, "Yamada^Tarou=山田^太郎=", "ISO 2022 IR 6\\ISO 2022 IR 87"),
        (b"ISO_IR 100", "CT平扫".encode("gbk"), "CT平扫", "GB18030"),
    ],
)
def test_a_wrong_or_missing_label_is_repaired(stated: bytes, raw: bytes, text: str, term: str) -> None:
    found = reading(stated, raw)
    assert (found.kind, found.term, decode(raw, found.encodings)) == ("repaired", term, text)


@pytest.mark.parametrize(
    ("stated", "raw", "text"),
    [
        (b"ISO_IR 100", "Müller^Jörg".encode("latin_1"), "Müller^Jörg"),
        (b"ISO_IR 100", "CONCEIÇÃO^JOÃO".encode("latin_1"), "CONCEIÇÃO^JOÃO"),
        (b"ISO_IR 100", "Åström^Åsa".encode("latin_1"), "Åström^Åsa"),
        (b"ISO_IR 100", "Größe 5 µm, 37 °C".encode("latin_1"), "Größe 5 µm, 37 °C"),
        (b"ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг"),
        (b"GB18030", "王^小明".encode("gbk"), "王^小明"),
        (b"ISO_IR 192", "王^小明".encode(), "王^小明"),
        (b"\\ISO 2022 IR 58", ESCAPED_CHINESE, "Zhang^XiaoDong=张^小东="),
        (b"\\ISO 2022 IR 87", ESCAPED_JAPANESE, "Yamada^Tarou=山田^太郎="),
    ],
)
def test_a_right_label_is_believed(stated: bytes, raw: bytes, text: str) -> None:
    found = reading(stated, raw)
    assert (found.kind, decode(raw, found.encodings)) == ("trusted", text)


@pytest.mark.parametrize(
    ("stated", "raw"),
    [
        (b"ISO_IR 100", "乔^静".encode("gbk")),  # also a Korean surname and a Hanja
        (b"", b"\xff\xfe\x81 \xff"),
        (b"ISO_IR 192", b"\xc3\x28\xa0\xff"),
        (b"", b"Wang\x1b%Gxyz\xe7"),
    ],
)
def test_what_more_than_one_or_no_script_explains_is_unsafe(stated: bytes, raw: bytes) -> None:
    assert reading(stated, raw).kind == "unsafe"


def test_text_beside_a_doubtful_name_settles_it() -> None:
    assert reading(b"ISO_IR 100", "乔^静".encode("gbk"), "市第一人民医院".encode("gbk")).term == "GB18030"


def test_latin_without_a_label_is_assumed_with_a_warning() -> None:
    run = validate(object_with(None, "Müller^Jörg".encode("latin_1")))
    assert (run.verdict, {one.code for one in run.warnings}) == ("accept_with_warnings", {"charset-assumed"})


_FAMILY = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕邢姜梅谷靳魏"
_GIVEN = "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂红玉梅华建国文志玲辉鑫斌宇浩然婷雪慧子轩梓涵欣怡俊"
_KOREAN = "김이박최정강조윤장임한오서신권황안송류홍"
_SYLLABLES = "민준서연지우현수영철희중길동은주하진경미숙자성호재"
_WESTERN = "äöüßéèêëàâçñõãåæøÄÖÜÉÈÀÇÑÕÃÅØ"


def test_no_name_is_ever_read_as_another() -> None:
    """10,000 names in three scripts under ISO_IR 100: each is read right or called unsafe, and few are unsafe."""
    chance = random.Random(7)
    unsafe = {"gbk": 0, "euc_kr": 0, "latin_1": 0}
    made = [
        *(("gbk", f"{chance.choice(_FAMILY)}^{''.join(chance.choices(_GIVEN, k=chance.choice([1, 2])))}") for _ in range(5000)),
        *(("euc_kr", f"{chance.choice(_KOREAN)}^{''.join(chance.choices(_SYLLABLES, k=2))}") for _ in range(3000)),
        *(("latin_1", f"{_western(chance)}^{_western(chance)}") for _ in range(2000)),
    ]  # fmt: skip
    for encoding, name in made:
        raw = name.encode(encoding)
        found = reading(b"ISO_IR 100", raw)
        if found.kind == "unsafe":
            unsafe[encoding] += 1
        else:
            assert decode(raw, found.encodings) == name, (encoding, name)
    assert unsafe["gbk"] < 250
    assert unsafe["euc_kr"] < 300
    assert unsafe["latin_1"] == 0


def _western(chance: random.Random) -> str:
    letters = chance.choices("abcdefghijklmnoprstuvwz", k=chance.randint(3, 8))
    for _ in range(chance.randint(1, 2)):
        letters.insert(chance.randrange(0, len(letters), 2), chance.choice(_WESTERN))
    return "".join(letters)


@given(st.text(alphabet=st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=3, max_size=12))
def test_what_is_labelled_right_is_never_repaired(text: str) -> None:
    for stated, codec in ((b"GB18030", "gb18030"), (b"ISO_IR 192", "utf-8")):
        raw = text.encode(codec)
        found = reading(stated, raw)
        assert decode(raw, found.encodings) == text


def test_index_and_metadata_carry_the_repaired_text_and_a_finding_says_so() -> None:
    data = object_with("ISO_IR 100", "Wang=王^小明".encode("gbk"), "第一人民医院".encode("gbk"))
    before = bytes(data)
    header = read_header(data)
    assert str(header.patient_name) == "Wang=王^小明"
    assert (header.institution_name, header.character_set) == ("第一人民医院", "ISO_IR 100")
    model = to_json_model(data, header, "x")
    assert model["00100010"]["Value"] == [{"Alphabetic": "Wang", "Ideographic": "王^小明"}]
    assert json.loads(to_json_text(scan(data), header, "x")) == model
    run = validate(data)
    [found] = run.warnings
    assert (found.code, run.verdict) == ("charset-repaired", "accept_with_warnings")
    assert "GB18030" in found.text_en
    assert data == before, "the original is never changed"


def test_an_unsafe_name_is_held_and_an_unsafe_description_only_warns() -> None:
    assert validate(object_with("ISO_IR 100", "乔^静".encode("gbk"))).verdict == "quarantine"
    run = validate(object_with("ISO_IR 192", b"Wang^Da", b"\xc3\x28\xa0\xff"))
    assert (run.verdict, {one.code for one in run.warnings}) == ("accept_with_warnings", {"text-undecodable"})


def test_undecodable_text_of_no_known_element_is_a_warning_too() -> None:
    unknown = b"\x0c\x00\x54\x4fLO\x04\x00\xc3\x28\xa0\xff"  # (000C,4F54) stands in no dictionary
    before = b"\x10\x00\x10\x00PN"
    data = object_with("ISO_IR 192", b"Wang^Da")
    run = validate(data.replace(before, unknown + before, 1))
    [found] = [one for one in run.warnings if one.code == "text-undecodable"]
    assert found.tag_path == "(000C,4F54)"
    assert run.verdict == "accept_with_warnings"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("chrX1.dcm", "Wang^XiaoDong=王^小東"),
        ("chrX2.dcm", "Wang^XiaoDong=王^小东"),
        ("fo_GH1301_GB18030.dcm", "Wang^XiaoDong=王^小东"),
        ("fo_chrGB2312.dcm", "Zhang^XiaoDong=张^小东"),
        ("chrH31.dcm", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("chrH32.dcm", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("chrI2.dcm", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("chrKoreanMulti.dcm", "김희중"),
        ("chrJapMulti.dcm", "やまだ^たろう"),
        ("chrRuss.dcm", "Люкceмбypг"),
        ("chrArab.dcm", "قباني^لنزار"),
        ("chrGreek.dcm", "Διονυσιος"),
        ("chrHbrw.dcm", "שרון^דבורה"),
        ("chrGerm.dcm", "Äneas^Rüdiger"),
        ("chrFren.dcm", "Buc^Jérôme"),
    ],
)
def test_a_real_file_is_believed_and_shown_right(sample: Callable[[str], Path], name: str, shown: str) -> None:
    header = read_header(sample(f"charsets/{name}").read_bytes())
    assert (header.charset.kind, str(header.patient_name)) == ("trusted", shown)


@pytest.mark.parametrize("label", [None, "ISO_IR 100"])
@pytest.mark.parametrize("name", ["chrX1.dcm", "chrX2.dcm", "fo_chrGB2312.dcm", "chrH31.dcm", "chrI2.dcm"])
def test_a_real_file_under_a_wrong_label_shows_the_same_name(
    sample: Callable[[str], Path], name: str, label: str | None
) -> None:
    dataset = pydicom.dcmread(sample(f"charsets/{name}"))
    right = str(read_header(sample(f"charsets/{name}").read_bytes()).patient_name)
    raw = scan(sample(f"charsets/{name}").read_bytes()).value(NAME)
    relabelled = read_header(object_with(label, raw.rstrip(b" ")))
    assert dataset.SpecificCharacterSet
    assert relabelled.charset.kind == "repaired"
    assert str(relabelled.patient_name) == right
