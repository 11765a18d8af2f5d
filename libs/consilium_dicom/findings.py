"""Everything that validation can say about an instance: one catalogue, in both languages.

Levels: V1 it can be parsed, V2 what must be there is there, V3 the pixels are whole, V4 it is plausible. A fatal finding
rejects the instance with the failure reason of PS3.18 10.5.3 / PS3.4 B.2.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from consilium_core.errors import Mend

Level = Literal["V0", "V1", "V2", "V3", "V4", "V5"]

CANNOT_UNDERSTAND = 0xC000
DOES_NOT_MATCH = 0xA900
NOT_SUPPORTED = 0x0122
SYNTAX_NOT_SUPPORTED = 0xC122
OUT_OF_RESOURCES = 0xA700


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or odd; ``tag_path`` like ``(0028,0010)``, empty for the file as a whole."""

    level: Level
    code: str
    tag_path: str
    text_en: str
    text_zh: str
    mend: Mend
    fatal: bool


@dataclass(frozen=True, slots=True)
class _Kind:
    level: Level
    failure_reason: int
    en: str
    zh: str
    mend: Mend = "caller"


_W = 0
_CATALOGUE: dict[str, _Kind] = {
    "unreadable": _Kind("V1", CANNOT_UNDERSTAND, "cannot be read as DICOM: {why}", "无法按 DICOM 解析：{why}"),
    "too-large": _Kind("V0", CANNOT_UNDERSTAND, "exceeds a safety limit: {why}", "超出安全限制：{why}"),
    "truncated": _Kind("V1", CANNOT_UNDERSTAND, "the file ends inside an element", "文件在数据元素中间被截断", "retry"),
    "no-transfer-syntax": _Kind(
        "V1", CANNOT_UNDERSTAND, "no Transfer Syntax UID in the file meta information", "文件元信息缺少传输语法 UID"
    ),
    "transfer-syntax-unknown": _Kind(
        "V2", SYNTAX_NOT_SUPPORTED, "transfer syntax {uid} is not supported", "不支持传输语法 {uid}"
    ),
    "no-preamble": _Kind("V1", _W, "no preamble and DICM prefix", "缺少前导码和 DICM 前缀"),
    "vr-mismatch": _Kind(
        "V1", _W, "the data set is not encoded as its transfer syntax says", "数据集编码与传输语法不一致"
    ),
    "trailing-bytes": _Kind("V1", _W, "{count} bytes after the data set", "数据集之后还有 {count} 字节"),
    "uid-missing": _Kind("V2", DOES_NOT_MATCH, "{name} is missing", "缺少 {name}"),
    "uid-invalid": _Kind("V2", DOES_NOT_MATCH, "{name} is not a UID", "{name} 不是合法的 UID"),
    "uid-leading-zero": _Kind("V2", _W, "{name} has a component with a leading zero", "{name} 含前导零的分量"),
    "meta-mismatch": _Kind(
        "V2",
        _W,  # the data set's own identity counts; anonymisers often forget the meta information
        "{name} differs between file meta information and data set",
        "{name} 在文件元信息与数据集中不一致",
    ),
    "meta-uid-missing": _Kind("V2", _W, "the file meta information lacks {name}", "文件元信息缺少 {name}"),
    "sop-class-not-storage": _Kind(
        "V2", NOT_SUPPORTED, "{uid} is not a storage SOP class", "{uid} 不是存储类 SOP", "admin"
    ),
    "sop-class-private": _Kind("V2", _W, "{uid} is a vendor's private SOP class", "{uid} 是厂商私有 SOP 类"),
    "attribute-missing": _Kind("V2", DOES_NOT_MATCH, "{name} is missing", "缺少 {name}"),
    "attribute-absent": _Kind("V2", _W, "{name} is missing or empty", "{name} 缺失或为空"),
    "pixel-data-missing": _Kind(
        "V3",
        _W,  # type 1C in PS3.3 C.7.6.3: storing what there is loses nothing
        "an image without pixel data",
        "图像对象缺少像素数据",
    ),
    "pixel-data-truncated": _Kind(
        "V3",
        DOES_NOT_MATCH,
        "pixel data ends after {actual} of {expected} bytes",
        "像素数据被截断：{actual}/{expected} 字节",
        "retry",
    ),
    "pixel-data-short": _Kind(
        "V3",
        DOES_NOT_MATCH,
        "pixel data holds {actual} bytes, {expected} are needed",
        "像素数据长度 {actual} 字节，应为 {expected} 字节",
    ),
    "pixel-data-long": _Kind(
        "V3", _W, "pixel data holds {actual} bytes, {expected} are needed", "像素数据多余：{actual}/{expected} 字节"
    ),
    "bits-inconsistent": _Kind(
        "V3",
        DOES_NOT_MATCH,
        "bits stored {stored} in {allocated} bits allocated",
        "存储位数 {stored} 与分配位数 {allocated} 矛盾",
    ),
    "encapsulation-mismatch": _Kind(
        "V3",
        DOES_NOT_MATCH,
        "pixel data encapsulation contradicts the transfer syntax",
        "像素数据封装方式与传输语法矛盾",
    ),
    "fragments-broken": _Kind(
        "V3", DOES_NOT_MATCH, "the pixel data's fragments are broken: {why}", "像素数据分片损坏：{why}", "retry"
    ),
    "frames-mismatch": _Kind("V3", DOES_NOT_MATCH, "frames cannot be located: {why}", "无法定位各帧：{why}"),
    "offset-table-wrong": _Kind(
        "V3", _W, "the offset table does not fit the fragments and is not used", "偏移表与分片不符，已忽略"
    ),
    "fragment-odd": _Kind("V3", _W, "a fragment has an odd length", "分片长度为奇数"),
    "frame-undecodable": _Kind(
        "V3", DOES_NOT_MATCH, "frame {frame} cannot be decoded: {why}", "第 {frame} 帧无法解码：{why}"
    ),
    "number-unreadable": _Kind("V2", _W, "{name} is not a number", "{name} 不是数字"),
    "date-invalid": _Kind("V4", _W, "{name} is not a date", "{name} 不是合法日期"),
    "text-undecodable": _Kind(
        "V4", _W, "{name} does not decode by the stated character set", "{name} 无法按声明的字符集解码"
    ),
    "text-nul": _Kind("V4", _W, "{name} holds a NUL, read as a space", "{name} 含空字符（NUL），已按空格读取"),
    "patient-id-empty": _Kind("V4", _W, "Patient ID is empty", "患者 ID 为空", "operator"),
    "high-bit-odd": _Kind("V4", _W, "high bit is not bits stored - 1", "最高位不等于存储位数减一"),
    "window-invalid": _Kind("V4", _W, "window width is not above 0", "窗宽不大于 0"),
}


def finding(code: str, tag_path: str = "", **facts: Any) -> Finding:
    """Return the finding of the catalogue's ``code``, its texts filled with ``facts``."""
    kind = _CATALOGUE[code]
    return Finding(
        level=kind.level,
        code=code,
        tag_path=tag_path,
        text_en=kind.en.format(**facts),
        text_zh=kind.zh.format(**facts),
        mend=kind.mend,
        fatal=kind.failure_reason != _W,
    )


def failure_reason(code: str) -> int:
    """Return the failure reason of a finding's code, 0 for one that only warns."""
    return _CATALOGUE[code].failure_reason
