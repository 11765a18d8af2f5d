"""The pinyin of Han text, for searching: by words with their usual reading, and by characters for names that are read otherwise.

pypinyin's dictionary takes most of a second to read and is read by the first text that needs it.
"""

from __future__ import annotations

import re
from functools import lru_cache

_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
# Family names whose reading differs from the character's usual one.
_SURNAMES = {
    "单": "shan", "曾": "zeng", "区": "ou", "仇": "qiu", "解": "xie", "查": "zha", "朴": "piao", "尉迟": "yuchi",
    "万俟": "moqi", "盖": "ge", "乐": "yue", "任": "ren", "华": "hua", "秘": "bi", "种": "chong", "召": "shao", "缪": "miao",
    "翟": "zhai", "覃": "qin", "宓": "fu", "晟": "cheng", "黑": "he", "冼": "xian", "折": "she", "繁": "po", "员": "yun",
}  # fmt: skip
_MOST = 64


@lru_cache(maxsize=4096)
def readings(group: str) -> tuple[str, ...]:
    """Return the pinyin of one folded component group (parts between carets), none without Han characters.

    Parts are written together (``wang^xiaodong``) and by syllable (``wang^xiao^dong``) and as one word; ü is written v, u and (as in passports) yu.
    """
    if not _HAN.search(group) or len(group) > _MOST:
        return ()
    from pypinyin import lazy_pinyin

    parts = [part for part in group.split("^") if part]
    spoken = [lazy_pinyin(part) for part in parts]
    forms = [spoken]
    family, name = parts[0], spoken[0]
    for length in (2, 1):
        surname = _SURNAMES.get(family[:length])
        if surname and "".join(name[:length]) != surname:
            forms.append([[surname, *name[length:]], *spoken[1:]])
            break
    written: dict[str, None] = {}
    for form in forms:
        for u in ("v", "u", "yu"):
            syllables = [[one.replace("v", u) for one in part] for part in form]
            together = ["".join(part) for part in syllables]
            every = [one for part in syllables for one in part]
            written |= dict.fromkeys(["^".join(together), "^".join(every), "".join(every)])
            if (
                len(parts) == 1 and len(syllables[0]) > 1
            ):  # written without a caret: the family name is the first character
                first, *rest = syllables[0]
                written |= dict.fromkeys([f"{first}^{''.join(rest)}"])
    return tuple(written)
