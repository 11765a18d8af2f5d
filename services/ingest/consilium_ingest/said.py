"""What senders are told of an object: the cause in 64 characters, each finding in both languages with who can mend it, and a warning's reason.

STOW-RS puts all of it into its answer; C-STORE has the status word, Error Comment (0000,0902: one LO) and the offending element only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consilium_archive.errors import InstanceHeld, InstanceRejected
from consilium_archive.stages import Warned
from consilium_core.errors import ConsiliumError
from consilium_dicom.catalogue import CATALOGUE

COMMENT_CHARS = 64
COERCED, CLASS_DIFFERS = 0xB000, 0xB007
_REASONS = {"identity-corrected": COERCED, "meta-mismatch": CLASS_DIFFERS}
"""Findings that are one of the Warning Reasons of PS3.18 annex I.2 and the warning status words of PS3.4 B.2.3; others have none."""
_LENGTHS = frozenset({"pixel-data-short", "pixel-data-truncated", "pixel-data-long", "length-mismatch"})
_ZH = {
    "instance-conflict": "该 SOP 实例 UID 已存有不同的内容；已存储的对象不会改变",
    "patient-mismatch": "该检查已归档在另一患者名下",
    "study-mismatch": "该实例不属于请求所指明的检查",
    "instance-mismatch": "数据集与消息所指明的实例不一致",
    "instance-tombstoned": "该实例已在保存期满后删除，本归档不再接收；管理员可以放行",
    "removal-under-way": "相同的对象正在删除，请几分钟后重新发送",
    "instance-held": "对象已进入隔离区，等待人工决定",
    "quarantine-refused": "隔离台已拒绝该对象",
    "original-unreadable": "该 UID 已存储的文件缺失或损坏，无法比较；请运维人员修复后重新发送",
    "comparison-unfinished": "与已存储对象的比较未完成，请重新发送",
    "archive-busy": "归档繁忙，请稍后重新发送",
    "archive-closing": "归档正在关闭，请重新发送",
    "unsupported-media-type": "该部分的媒体类型不受支持",
    "multipart-invalid": "请求正文损坏或提前结束",
    "object-too-large": "对象超出允许的大小",
    "transfer-syntax-unclear": "无法确定像素数据的传输语法",
    "metadata-invalid": "元数据无法解读",
}
_ZH_OF_MEND = {
    "caller": "对象不能存储，请在发送端更正",
    "operator": "对象不能存储，请联系运维人员",
    "admin": "对象不能存储，请联系管理员",
    "retry": "归档暂时无法存储，请重新发送",
    "vendor": "对象不能存储：归档内部错误，请联系供应商",
}


@dataclass(frozen=True, slots=True)
class Said:
    """One finding or refusal as its sender is told."""

    code: str
    en: str
    zh: str
    mend: str
    tag_path: str = ""


def said(problem: ConsiliumError) -> list[Said]:
    """Return what is wrong: a hold before its reasons, what rejects before what only warns, or the refusal itself."""
    itself = Said(problem.code, problem.detail, _chinese(problem), problem.mend)
    if isinstance(problem, InstanceRejected | InstanceHeld):
        found = [_finding(one) for one in _findings(problem)]
        return [itself, *found] if isinstance(problem, InstanceHeld) or not found else found
    return [itself]


def warned(warnings: Sequence[Warned]) -> list[Said]:
    """Return what is told of an object that was stored all the same."""
    return [Said(one.code, one.detail, one.text_zh, one.mend, one.tag_path) for one in warnings]


def warning_reason(warnings: Sequence[Warned]) -> int:
    """Return the Warning Reason of a stored object; 0 when nothing that was found has one."""
    return min((_REASONS[one.code] for one in warnings if one.code in _REASONS), default=0)


def cause(problem: ConsiliumError) -> str:
    """Return the cause as codes: ``pixel-data-short``, or ``held 01J...: patient-mismatch`` with the quarantine's entry."""
    if isinstance(problem, InstanceHeld):
        held = f"held {problem.quarantine_id}"
        return f"{held}: {', '.join(problem.reasons)}" if problem.reasons else held
    if isinstance(problem, InstanceRejected) and problem.findings:
        return ", ".join(dict.fromkeys(one["code"] for one in _findings(problem) if _fatal(one["code"])))
    entry = problem.facts.get("quarantine_id")
    return f"{problem.code}: entry {entry}" if entry else problem.code


def comment(problem: ConsiliumError) -> str:
    """Return the Error Comment: the finding's code first, then its numbers, else its sentence as far as it fits."""
    if isinstance(problem, InstanceRejected) and problem.findings:
        return _fitting(_short(_findings(problem)[0]))
    named = cause(problem)
    return _fitting(named if named != problem.code else f"{named}: {problem.detail}")


def warning_comment(warnings: Sequence[Warned]) -> str:
    """Return the Error Comment of an object stored with a warning."""
    return _fitting(next((f"{one.code}: {one.detail}" for one in warnings if one.code in _REASONS), ""))


def _findings(problem: InstanceRejected | InstanceHeld) -> list[dict[str, Any]]:
    """Return the findings, those that refuse or hold first."""
    reasons = problem.reasons if isinstance(problem, InstanceHeld) else []
    return sorted(problem.findings, key=lambda one: not (one["code"] in reasons or _fatal(one["code"])))


def _fatal(code: str) -> bool:
    return code in CATALOGUE and CATALOGUE[code].failure_reason != 0


def _finding(one: dict[str, Any]) -> Said:
    return Said(
        one["code"], one.get("text_en", ""), one.get("text_zh", ""), one.get("mend", ""), one.get("tag_path", "")
    )


def _short(one: dict[str, Any]) -> str:
    numbers = re.findall(r"\d+", one.get("text_en", ""))
    if one["code"] in _LENGTHS and len(numbers) == 2:
        return f"{one['code']}: {numbers[0]} of {numbers[1]} bytes"
    return f"{one['code']}: {one.get('text_en', '')}"


def _fitting(text: str) -> str:
    """Return the text as one LO value of at most 64 characters."""
    return "".join(c if c.isprintable() and c != "\\" else "/" for c in text)[:COMMENT_CHARS].rstrip()


def _chinese(problem: ConsiliumError) -> str:
    words = _ZH.get(problem.code) or _ZH_OF_MEND.get(problem.mend, _ZH_OF_MEND["vendor"])
    entry = problem.facts.get("quarantine_id")
    return f"{words}（隔离条目 {entry}）" if entry else words
