"""The catalogue: every code that validation can say, its level, its words in both languages, and who can mend it.

Levels: V0 it arrived whole, V1 it can be parsed, V2 what must be there is there, V3 the pixels are whole and show something,
V4 it is plausible, V5 privacy. A code with a failure reason (PS3.18 10.5.3, PS3.4 B.2.3) rejects the instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from consilium_core.errors import Mend

Level = Literal["V0", "V1", "V2", "V3", "V4", "V5"]

CANNOT_UNDERSTAND = 0xC000
DOES_NOT_MATCH = 0xA900
NOT_SUPPORTED = 0x0122
SYNTAX_NOT_SUPPORTED = 0xC122
OUT_OF_RESOURCES = 0xA700


@dataclass(frozen=True, slots=True)
class Kind:
    """What one code means. ``note``: worth knowing, not worth a warning; ``failure_reason`` 0: it does not reject."""

    level: Level
    failure_reason: int
    en: str
    zh: str
    mend: Mend = "caller"
    note: bool = False


_W = 0
CATALOGUE: dict[str, Kind] = {
    "unreadable": Kind("V1", CANNOT_UNDERSTAND, "cannot be read as DICOM: {why}", "无法按 DICOM 解析：{why}"),
    "too-large": Kind("V0", CANNOT_UNDERSTAND, "exceeds a safety limit: {why}", "超出安全限制：{why}"),
    "truncated": Kind("V1", CANNOT_UNDERSTAND, "the file ends inside an element", "文件在数据元素中间被截断"),
    "no-transfer-syntax": Kind(
        "V1", CANNOT_UNDERSTAND, "no Transfer Syntax UID in the file meta information", "文件元信息缺少传输语法 UID"
    ),
    "transfer-syntax-unknown": Kind(
        "V2", SYNTAX_NOT_SUPPORTED, "transfer syntax {uid} is not supported", "不支持传输语法 {uid}"
    ),
    "no-preamble": Kind("V1", _W, "no preamble and DICM prefix", "缺少前导码和 DICM 前缀"),
    "vr-mismatch": Kind(
        "V1", _W, "the data set is not encoded as its transfer syntax says", "数据集编码与传输语法不一致"
    ),
    "trailing-bytes": Kind("V1", _W, "{count} bytes after the data set", "数据集之后还有 {count} 字节"),
    "uid-missing": Kind("V2", DOES_NOT_MATCH, "{name} is missing", "缺少 {name}"),
    "uid-invalid": Kind("V2", DOES_NOT_MATCH, "{name} is not a UID", "{name} 不是合法的 UID"),
    "uid-leading-zero": Kind("V2", _W, "{name} has a component with a leading zero", "{name} 含前导零的分量"),
    "meta-mismatch": Kind(
        "V2",
        _W,  # the data set's own identity counts; anonymisers often forget the meta information
        "{name} differs between file meta information and data set",
        "{name} 在文件元信息与数据集中不一致",
    ),
    "meta-uid-missing": Kind("V2", _W, "the file meta information lacks {name}", "文件元信息缺少 {name}"),
    "sop-class-not-storage": Kind(
        "V2", NOT_SUPPORTED, "{uid} is not a storage SOP class", "{uid} 不是存储类 SOP", "admin"
    ),
    "sop-class-private": Kind("V2", _W, "{uid} is a vendor's private SOP class", "{uid} 是厂商私有 SOP 类"),
    "attribute-missing": Kind("V2", DOES_NOT_MATCH, "{name} is missing", "缺少 {name}"),
    "attribute-invalid": Kind(
        "V2", DOES_NOT_MATCH, "{name} is {value}: no image has that", "{name} 为 {value}，图像不可能如此"
    ),
    "attribute-absent": Kind("V2", _W, "{name} is missing or empty", "{name} 缺失或为空"),
    "pixel-data-missing": Kind(
        "V3",
        _W,  # held, not rejected: a copy of headers alone is rare but real, and only a person can tell it from one that was cut off
        "an image without pixel data: unless only its header was meant, it was cut off; send it whole",
        "图像对象缺少像素数据：若非有意只发送头信息，则文件已被截断，请重新发送完整对象",
    ),
    "pixel-data-truncated": Kind(
        "V3",
        DOES_NOT_MATCH,
        "pixel data ends after {actual} of {expected} bytes",
        "像素数据被截断：{actual}/{expected} 字节",
    ),
    "pixel-data-short": Kind(
        "V3",
        DOES_NOT_MATCH,
        "pixel data holds {actual} bytes, {expected} are needed",
        "像素数据长度 {actual} 字节，应为 {expected} 字节",
    ),
    "pixel-data-long": Kind(
        "V3", _W, "pixel data holds {actual} bytes, {expected} are needed", "像素数据多余：{actual}/{expected} 字节"
    ),
    "bits-allocated-odd": Kind(
        "V3",
        DOES_NOT_MATCH,  # PS3.5 8.1.1
        "{allocated} bits allocated is neither 1 nor a multiple of 8",
        "分配位数 {allocated} 既不是 1 也不是 8 的倍数",
    ),
    "samples-mismatch": Kind(
        "V3",
        _W,  # stored as it is: somebody may know which of the two is wrong
        "{photometric} has {expected} samples per pixel, the object says {actual}",
        "{photometric} 每像素应有 {expected} 个采样，对象声明 {actual} 个",
        "vendor",
    ),
    "bits-inconsistent": Kind(
        "V3",
        DOES_NOT_MATCH,
        "bits stored {stored} in {allocated} bits allocated",
        "存储位数 {stored} 与分配位数 {allocated} 矛盾",
    ),
    "encapsulation-mismatch": Kind(
        "V3",
        DOES_NOT_MATCH,
        "pixel data encapsulation contradicts the transfer syntax",
        "像素数据封装方式与传输语法矛盾",
    ),
    "fragments-broken": Kind(
        "V3", DOES_NOT_MATCH, "the pixel data's fragments are broken: {why}", "像素数据分片损坏：{why}"
    ),
    "frames-mismatch": Kind("V3", DOES_NOT_MATCH, "frames cannot be located: {why}", "无法定位各帧：{why}"),
    "offset-table-wrong": Kind(
        "V3", _W, "the offset table does not fit the fragments and is not used", "偏移表与分片不符，已忽略"
    ),
    "fragment-odd": Kind("V3", _W, "a fragment has an odd length", "分片长度为奇数"),
    "frame-undecodable": Kind(
        "V3", DOES_NOT_MATCH, "frame {frame} cannot be decoded: {why}", "第 {frame} 帧无法解码：{why}"
    ),
    "number-unreadable": Kind("V2", _W, "{name} is not a number", "{name} 不是数字"),
    "date-invalid": Kind("V4", _W, "{name} is not a date", "{name} 不是合法日期"),
    "text-undecodable": Kind(
        "V4", _W, "{name} does not decode by the stated character set", "{name} 无法按声明的字符集解码"
    ),
    "text-nul": Kind("V4", _W, "{name} holds a NUL, read as a space", "{name} 含空字符（NUL），已按空格读取"),
    "patient-id-empty": Kind("V4", _W, "Patient ID is empty", "患者 ID 为空", "operator"),
    "high-bit-odd": Kind("V4", _W, "high bit is not bits stored - 1", "最高位不等于存储位数减一"),
    "window-invalid": Kind("V4", _W, "window width is not above 0", "窗宽不大于 0"),
    # V0: what arrived is what was sent
    "not-dicom": Kind("V0", CANNOT_UNDERSTAND, "the bytes are {kind}, not DICOM", "内容是 {kind}，不是 DICOM"),
    "length-mismatch": Kind(
        "V0",
        CANNOT_UNDERSTAND,
        "{actual} bytes arrived, the sender states {stated}",
        "收到 {actual} 字节，发送方声明 {stated} 字节",
        "retry",
    ),
    "checksum-mismatch": Kind(
        "V0",
        CANNOT_UNDERSTAND,
        "the bytes do not have the SHA-256 that the sender states",
        "内容与发送方声明的 SHA-256 不符",
        "retry",
    ),
    # V2: the modules of the SOP class (PS3.3)
    "type1-missing": Kind(
        "V2", _W, "{name} (type 1, {module}) is missing or empty", "缺少必填属性 {name}（1 类，{module}）"
    ),
    "type2-missing": Kind(
        "V2", _W, "{name} (type 2, {module}) is missing", "缺少属性 {name}（2 类，{module}）", note=True
    ),
    # V3: what the pixels show
    "frame-black": Kind("V3", _W, "frame {frame} is black", "第 {frame} 帧全黑", "operator"),
    "frame-constant": Kind(
        "V3",
        _W,
        "every sample of frame {frame} has the value {value}",
        "第 {frame} 帧所有像素值均为 {value}",
        "operator",
    ),
    # V3: video, read from the bit stream itself (PS3.5 8.2.5 to 8.2.11)
    "video-unreadable": Kind(
        "V3", DOES_NOT_MATCH, "the video stream cannot be read: {why}", "无法读取视频码流：{why}", "vendor"
    ),
    "video-codec-mismatch": Kind(
        "V3",
        DOES_NOT_MATCH,
        "the stream is {actual}, the transfer syntax says {stated}",
        "码流为 {actual}，传输语法声明为 {stated}",
        "vendor",
    ),
    "video-profile-mismatch": Kind(
        "V3",
        DOES_NOT_MATCH,
        "the stream has {actual}, the transfer syntax allows {stated}",
        "码流为 {actual}，传输语法只允许 {stated}",
        "vendor",
    ),
    "video-size-mismatch": Kind(
        "V3",
        DOES_NOT_MATCH,
        "the stream is {actual}, the object says {stated}",
        "码流分辨率 {actual}，对象声明 {stated}",
        "vendor",
    ),
    "video-frames-mismatch": Kind(
        "V3",
        _W,
        "the stream holds {actual} frames, the object says {stated}",
        "码流含 {actual} 帧，对象声明 {stated} 帧",
        "vendor",
    ),
    "video-rate-mismatch": Kind(
        "V3",
        _W,
        "the stream runs at {actual} frames/s, the object says {stated}",
        "码流帧率 {actual}，对象声明 {stated}",
        "vendor",
    ),
    "video-gop-open": Kind(
        "V3",
        _W,
        "{count} groups of pictures are open: a viewer cannot start there",
        "{count} 个图像组为开放式，无法从该处开始播放",
        "vendor",
    ),
    "video-no-keyframe": Kind(
        "V3",
        DOES_NOT_MATCH,
        "the stream does not begin with a picture that stands alone",
        "码流未以独立解码的图像开始",
        "vendor",
    ),
    "video-container": Kind(
        "V3",
        _W,
        "the stream lies in {actual}; PS3.5 asks for MPEG-TS or MP4",
        "码流封装为 {actual}，PS3.5 要求 MPEG-TS 或 MP4",
        "vendor",
    ),
    "video-format-unusual": Kind(
        "V3",
        _W,
        "{actual} is not one of the formats of a BD-compatible stream",
        "{actual} 不属于 BD 兼容格式",
        "vendor",
    ),
    "video-profile-lower": Kind(
        "V3",
        _W,
        "the stream has {actual}, less than the {stated} of the transfer syntax",
        "码流为 {actual}，低于传输语法的 {stated}",
        "vendor",
    ),
    "video-aspect-ratio": Kind("V3", _W, "the stream's samples are not square", "码流像素不是正方形", "vendor"),
    "video-photometric": Kind(
        "V3",
        _W,
        "the photometric interpretation is {stated}, video asks for YBR_PARTIAL_420",
        "光度解释为 {stated}，视频应为 YBR_PARTIAL_420",
        "vendor",
    ),
    # V4: plausible for a person, an order and the archive
    "charset-repaired": Kind(
        "V4",
        _W,
        "the text is {actual}, the object states {stated}; it is shown repaired, the original is kept",
        "文本实际为 {actual}，对象声明为 {stated}；已修正显示，原始数据不变",
    ),
    "charset-assumed": Kind(
        "V4", _W, "no character set is stated; Latin 1 is assumed", "未声明字符集，按 Latin 1 处理"
    ),
    "charset-unsafe": Kind(
        "V4",
        _W,
        "{name} cannot be read with certainty: the character set {stated} does not fit and no single other does",
        "{name} 无法可靠识别：声明的字符集 {stated} 不符，且无唯一合理解释",
        "operator",
    ),
    "study-date-future": Kind("V4", _W, "Study Date lies in the future", "检查日期在未来", "operator"),
    "birth-date-future": Kind("V4", _W, "Patient's Birth Date lies in the future", "出生日期在未来", "operator"),
    "birth-after-study": Kind("V4", _W, "Patient's Birth Date is after Study Date", "出生日期晚于检查日期", "operator"),
    "age-implausible": Kind("V4", _W, "the patient would be {age} years old", "患者年龄为 {age} 岁", "operator"),
    "age-invalid": Kind(
        "V4",
        _W,
        "Patient's Age is no age: three digits and D, W, M or Y",
        "患者年龄格式错误：应为三位数字加 D、W、M 或 Y",
    ),
    "patient-mismatch": Kind(
        "V4", _W, "the study is stored for another patient", "该检查已归档在另一患者名下", "operator"
    ),
    "identity-differs": Kind(
        "V4",
        _W,
        "{name} contradicts the person that the study is stored for",
        "{name} 与该检查已归档的患者身份矛盾",
        "operator",
    ),
    "name-differs": Kind(
        "V4",
        _W,
        "Patient's Name differs from the study's, nothing else contradicts",
        "患者姓名与该检查已归档的姓名不同，其余信息无矛盾",
        "operator",
    ),
    "patient-id-shared": Kind(
        "V4",
        _W,
        "another study of this Patient ID is stored for a person of other name, birth date or sex",
        "同一患者 ID 的另一检查归档于姓名、出生日期或性别不同的患者名下",
        "operator",
    ),
    "series-differs": Kind(
        "V4", _W, "{name} differs from what the series is stored with", "{name} 与该序列已归档的内容不同", "operator"
    ),
    "order-mismatch": Kind("V4", _W, "{name} differs from the order", "{name} 与申请单不一致", "operator"),
    # V5: privacy
    "burned-in-annotation": Kind(
        "V5", _W, "the pixels hold identifying text", "图像像素中含有可识别身份的文字", "operator", note=True
    ),
    "private-elements": Kind(
        "V5", _W, "{count} private elements, whose content is not known", "含 {count} 个私有元素，内容未知", note=True
    ),
    "identity-removed": Kind(
        "V5", _W, "the object says that the patient's identity was removed", "对象声明已去除患者身份信息", note=True
    ),
    "deidentification-unexplained": Kind(
        "V5", _W, "the patient's identity was removed, by no stated method", "声明已去标识化，但未说明方法"
    ),
}
