"""Person names keep their three groups, and text follows the object's own character set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium_dicom.charset import decode, encodings_of
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.person_name import PersonName, compose


def test_three_groups_are_parsed_and_written_back() -> None:
    name = PersonName.parse("Yamada^Tarou=山田^太郎=やまだ^たろう")
    assert (name.alphabetic, name.ideographic, name.phonetic) == ("Yamada^Tarou", "山田^太郎", "やまだ^たろう")
    assert str(name) == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert name.json() == {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}


def test_a_chinese_reader_sees_the_ideographic_name() -> None:
    assert PersonName.parse("Wang^XiaoDong=王^小东").display() == "王小东"
    assert PersonName.parse("Wang^XiaoDong").display() == "Wang XiaoDong"


def test_an_empty_name_is_false_and_empty() -> None:
    assert not PersonName.parse("")
    assert str(PersonName.parse("==")) == ""


_part = st.text(st.characters(exclude_characters="\\\r\n\t\f\0^=", exclude_categories=["Cs"]), max_size=20)


@given(_part, _part, _part, _part)
def test_composed_names_parse_back(family: str, given_name: str, chinese: str, chinese_given: str) -> None:
    name = compose(family, given_name, ideographic=(chinese, chinese_given))
    again = PersonName.parse(str(name))
    assert again.alphabetic == name.alphabetic.rstrip(" ")
    assert again.ideographic == name.ideographic.rstrip(" ")


@pytest.mark.parametrize("bad", ["a^b", "a=b", "a\\b", "a\nb", "x" * 65])
def test_what_a_name_reserves_is_refused(bad: str) -> None:
    with pytest.raises(DicomInvalid):
        compose(bad)


@pytest.mark.parametrize(
    ("character_set", "raw", "text"),
    [
        (b"ISO_IR 192", "王^小东".encode(), "王^小东"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (b"GBK", "王^小东".encode("gbk"), "王^小东"),
        (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        (b"ISO-IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        (b"\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B", "Yamada=山田"),
        (b"\\ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3", "Hong=洪"),
        (b"NO SUCH SET", b"abc", "abc"),
        (b"ISO_IR 192", b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_text_decodes_by_its_character_set(character_set: bytes, raw: bytes, text: str) -> None:
    assert decode(raw, encodings_of(character_set)) == text
