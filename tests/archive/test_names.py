"""Names are found by any group, in any case and accent, by pinyin with or without tones, and by what they sound like."""

from __future__ import annotations

import fnmatch

import pytest

from consilium_archive.names import (
    fold,
    fuzzy_key,
    fuzzy_words,
    name_key,
    name_patterns,
    search_text,
    sort_key,
    sound_of,
)
from consilium_dicom.person_name import PersonName


def matches(value: str, name: str) -> bool:
    key = name_key(PersonName.parse(name)).replace("[", "[[]")
    return all(any(fnmatch.fnmatchcase(key, form) for form in forms) for forms in name_patterns(value))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("wang*", "=王^小东"), ("wang*", "王小东"), ("WANG^XIAODONG", "王^小东"), ("wáng^xiǎo*", "王^小东"),
        ("wang2 xiao3 dong1", "王^小东"), ("wang xiaodong", "王小东"), ("wangxiaodong", "王小东"), ("*xiaodong*", "王^小东"),
        ("shan*", "单^雄信"), ("zeng*", "曾^国藩"), ("ouyang^*", "欧阳^修"), ("lv*", "吕^布"), ("lu*", "吕^布"), ("lü*", "吕^布"),
        ("muller*", "Müller^Jürgen"), ("MÜLLER*", "Muller^Jurgen"), ("yamada*=山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("*ろう", "Yamada^Tarou=山田^太郎=やまだ^たろう"), ("wang*=王*", "Wang^Xiaodong=王^小东"), ("family12*", "Family12^Given"),
    ],
)  # fmt: skip
def test_a_name_is_found(value: str, name: str) -> None:
    assert matches(value, name)


@pytest.mark.parametrize(
    ("value", "name"),
    [("wan", "王^小东"), ("wang", "王^小东"), ("zhang*", "王^小东"), ("wang*=李*", "Wang^X=王^小东"), ("が*", "か^a")],
)
def test_another_name_is_not_found(value: str, name: str) -> None:
    assert not matches(value, name)


def fuzzy(value: str, name: str) -> bool:
    key = fuzzy_key(PersonName.parse(name))
    return all(f"^{word}" in key or (bool(sound) and f"^~{sound}^" in key) for word, sound in fuzzy_words(value))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("smyth", "SMITH^John"), ("john smith", "Smith^John"), ("jon smi", "Smith^John"), ("zang", "张^伟"), ("cheng", "陈^明"),
        ("xiao wang", "王^小东"), ("tarou", "Yamada^Tarou=山田^太郎"), ("mueler", "Mueller^Hans"), ("王小", "王^小东"),
    ],
)  # fmt: skip
def test_a_fuzzy_search_finds_by_beginnings_and_by_sound_in_any_order(value: str, name: str) -> None:
    assert fuzzy(value, name)


@pytest.mark.parametrize(("value", "name"), [("smith peter", "Smith^John"), ("wang", "李^明"), ("小王", "王^小东")])
def test_a_fuzzy_search_does_not_find_everybody(value: str, name: str) -> None:
    assert not fuzzy(value, name)


def test_sounds_are_soundex() -> None:
    known = {"robert": "r163", "rupert": "r163", "tymczak": "t522", "pfister": "p236", "honeyman": "h555", "lee": ""}
    assert {word: sound_of(word) for word in known} == known


def test_search_text_is_ascii_with_blanks_around_every_word() -> None:
    text = search_text(PersonName.parse("Wang^Xiaodong=王^小东"), "P[1]", "Abdomen 100%")
    assert text.isascii()
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789 ")
    for word in (" wang xiaodong ", " u738b u5c0fu4e1c ", " u738bu5c0fu4e1c ", " pu5b1u5d ", " abdomen 100u25 "):
        assert word in text


def test_names_are_ordered_by_pinyin() -> None:
    names = [PersonName.parse(text) for text in ("张^三", "Smith^John", "李^四", "王^五")]
    assert [str(name) for name in sorted(names, key=sort_key)] == ["李^四", "Smith^John", "王^五", "张^三"]


def test_folding_keeps_japanese_sound_marks() -> None:
    assert fold("がか") == "がか"
    assert fold("ＷＡＮＧ　Ｘ") == "wang^x"
