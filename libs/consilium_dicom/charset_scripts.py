"""Is a text plausible in a script? Chinese, Korean, Japanese, Latin: the judges that ``charset_repair`` asks.

Byte sequences of GBK, EUC-KR and Shift JIS are valid in one another; what tells them apart is what they would say. A Chinese text
is mostly of the 3,755 characters of GB 2312 level 1; a Korean word is all Hangul or all Hanja; Japanese has kana or common
kanji and no half-width kana; a Latin word has its accented letters among plain ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[^\W\d_]+")
_SURNAMES_ZH = frozenset(
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康"
    "毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁葛伍韦申尤毕聂丛焦向柳邢路岳齐沿梅莫庄辛管祝左涂谷祁时舒耿牟卜"
    "詹关苗凌费纪靳盛童欧甄项曲成游阳裴席卫查屈鲍位覃霍翁隋植甘景薄单包司柏宁柯阮桂闵解强柴华车冉房边净阴闫肖"
)
_SURNAMES_KO = frozenset(
    "김이박최정강조윤장임한오서신권황안송류유전홍고문양손배백허남심노하곽성차주우구민진지나엄채원천방공현함변염여추도소석선설마길연위표명기반왕금옥육인맹제모"
    "탁국어은편용예경봉사부황보가복태목형계피두감음빈동온시갈좌남궁독고선우제갈"
)
_SURNAMES_JA = frozenset(
    "佐鈴高田伊渡山中小加吉林斎清森池阿橋石前藤岡後長村近坂遠青西福太三上金木原松野菅武新今丸平安内大河川浜本谷宮"
)


def looks_latin(text: str) -> bool:
    """Tell whether the accented letters of a Latin 1 text stand where a Western word has them."""
    if any("\x80" <= c <= "\x9f" for c in text):
        return False
    for word in _WORD.findall(text):
        accented = sum(c > "\x7f" for c in word)
        if accented > 1 and (accented == len(word) or re.search(r"[^\x00-\x7f]{3}", word)):
            return False
    return all(c <= "\x7f" or c.isalpha() or c in "\xa0°²³µ·§ª«»¡¿®©±×÷" for c in text) and not re.search(
        r"[\xa0-\xbf\xd7\xf7]{2}|[\xc0-\xff][\xa0-\xbf\xd7\xf7]|[\xa0-\xb1\xb3-\xbf\xd7\xf7][\xc0-\xff]", text
    )


def looks_western(text: str) -> bool:
    """Tell whether every word with letters beyond ASCII is a European one: accented Latin, or all Greek or all Cyrillic."""
    for word in _WORD.findall(text):
        far = {_block(c) for c in word if c > "\x7f"}
        if far and (len(far) > 1 or far == {""} or (far == {"latin"}) != any(c <= "\x7f" for c in word)):
            return False
    return all(c <= "\x7f" or c.isalpha() or c in "\xa0°²³µ·§ª«»¡¿®©±" for c in text)


def _block(char: str) -> str:
    if "\xc0" <= char <= "\u017f":
        return "latin"
    if "\u0391" <= char <= "\u03ce":
        return "greek"
    return "cyrillic" if "\u0400" <= char <= "\u045f" else ""


def _letters(texts: Iterable[str]) -> str:
    return "".join(c for text in texts for c in text if c > "\x7f")


def all_han(texts: list[str]) -> bool:
    """Tell whether all that is not ASCII is ideographs."""
    return all(_is_han(c) or _is_punctuation(c) for c in _letters(texts))


def _is_han(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff"


def _is_punctuation(char: str) -> bool:
    return "\u3000" <= char <= "\u303f" or "\uff00" <= char <= "\uff65" or char in "·—…“”‘’×℃"


def _common_hanzi(char: str) -> bool:
    """Tell whether a character is of GB 2312 level 1: rows 16 to 55."""
    try:
        return char.encode("gb2312")[0] < 0xD8
    except UnicodeError:
        return False


def looks_chinese(texts: list[str]) -> bool:
    """Tell whether all that is not ASCII is ideographs, two at least, and half of them or more everyday ones."""
    letters = _letters(texts)
    han = [c for c in letters if _is_han(c)]
    if len(han) < 2 or any(not (_is_han(c) or _is_punctuation(c)) for c in letters):
        return False
    return sum(map(_common_hanzi, han)) * 2 >= len(han)


def looks_korean(texts: list[str]) -> bool:
    """Tell whether every word or name is all Hangul or all Hanja, two syllables at least, and most of them are Hangul."""
    found = [word for text in texts for word in _WORD.findall(text.replace("^", ""))]
    words = [_letters([word]) for word in found if _letters([word])]
    hangul = sum(all("\uac00" <= c <= "\ud7a3" for c in word) for word in words)
    hanja = sum(all(_is_han(c) or "\uf900" <= c <= "\ufaff" for c in word) for word in words)
    letters = _letters(texts)
    other = any(not (c.isalpha() or _is_punctuation(c)) for c in letters)
    return not other and len(letters) > 1 and hangul + hanja == len(words) and hangul * 2 >= len(words)


def looks_japanese(texts: list[str]) -> bool:
    """Tell whether all that is not ASCII is full-width kana and kanji, with kana or JIS level 1 kanji prevailing."""
    letters = _letters(texts)
    kana = [c for c in letters if "\u3040" <= c <= "\u30ff"]
    han = [c for c in letters if _is_han(c)]
    if len(letters) < 2 or any(not (_is_han(c) or c in kana or _is_punctuation(c)) for c in letters):
        return False
    common = sum(
        1 for c in han if c.encode("cp932", "replace")[0] < 0x98 or c.encode("cp932", "replace")[:2] < b"\x98\x9f"
    )
    return bool(kana) or (bool(han) and common * 3 >= len(han) * 2)


def opens_with_surname(term: str, name: str) -> bool:
    """Tell whether a decoded person name has, in a group that is not Latin, a known surname of the script of ``term``."""
    known = {"GB18030": _SURNAMES_ZH, "ISO 2022 IR 149": _SURNAMES_KO, "ISO_IR 13": _SURNAMES_JA}[term]
    groups = [group for group in name.split("=") if _letters([group])]
    return any(group[:1] in known for group in groups)
