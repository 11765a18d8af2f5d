"""Why an instance is not there, in plain words in both languages, and who can mend it.

``PROBLEMS``: what came of an attempt. ``REASONS``: why a rule made no job of an instance.
"""

from __future__ import annotations

from dataclasses import dataclass

from consilium_core.errors import Mend


@dataclass(frozen=True, slots=True)
class Words:
    """One cause as people are told it. ``lasting``: another attempt can't succeed, so there is none until somebody asks for it."""

    en: str
    zh: str
    mend: Mend
    lasting: bool = False


PROBLEMS: dict[str, Words] = {
    "unreachable": Words(
        "The destination does not answer: it is off, or the network or a firewall stands between.",
        "目的地没有应答：对方已关机，或被网络、防火墙阻断。",
        "operator",
    ),
    "timeout": Words(
        "The destination took too long; it is tried again.", "目的地应答超时，系统会自动重试。", "operator"
    ),
    "broken-off": Words("The connection broke off; it is tried again.", "连接中断，系统会自动重试。", "operator"),
    "access-refused": Words(
        "The destination refuses our token: whoever runs the server renews it.",
        "目的地不接受我方令牌，请运维人员更新令牌。",
        "operator",
    ),
    "certificate-refused": Words(
        "The destination's certificate is not one that we trust: it has expired, or its CA is not set up.",
        "目的地的证书不受信任：已过期，或未配置其 CA。",
        "operator",
    ),
    "token-unreadable": Words(
        "The file of the destination's token can't be read.", "无法读取目的地的令牌文件。", "operator"
    ),
    "address-refused": Words(
        "The destination refuses the address or the request: the set-up is wrong.",
        "目的地拒绝该地址或请求，请检查配置。",
        "operator",
    ),
    "not-dicomweb": Words(
        "What answers there is no DICOMweb server: a sign-in page or another service stands at the address.",
        "该地址的应答不是 DICOMweb：可能是登录页面或其他服务。",
        "operator",
    ),
    "busy": Words("The destination is busy; it is tried again.", "目的地繁忙，系统会自动重试。", "retry"),
    "destination-failed": Words(
        "The destination has an error of its own; its operator can say which.",
        "目的地内部出错，请联系对方运维人员。",
        "operator",
    ),
    "association-rejected": Words(
        "The destination rejects the association: it does not know our AE title or was called by a wrong one.",
        "目的地拒绝关联：对方不认识我方 AE 标题，或被叫 AE 标题有误。",
        "operator",
    ),
    "syntax-not-accepted": Words(
        "The destination does not take this kind of object in the transfer syntax in which it is stored.",
        "目的地不接受此类对象或其传输语法。",
        "operator",
        lasting=True,
    ),
    "class-not-supported": Words(
        "The destination does not take this kind of object.", "目的地不支持此类对象。", "operator", lasting=True
    ),
    "not-conformant": Words(
        "The destination judges the object as not conformant.", "目的地认为该对象不符合规范。", "operator", lasting=True
    ),
    "other-content": Words(
        "The destination says that it has an object under this SOP Instance UID already.",
        "目的地称该 SOP 实例 UID 下已有对象。",
        "operator",
        lasting=True,
    ),
    "too-large": Words(
        "The destination refuses the request as too large.", "目的地认为请求过大。", "operator", lasting=True
    ),
    "no-room": Words(
        "The destination has no room or no resources; it is tried again.",
        "目的地空间或资源不足，系统会自动重试。",
        "operator",
    ),
    "instance-refused": Words(
        "The destination refuses this object; its operator can say why.",
        "目的地拒绝该对象，请联系对方运维人员。",
        "operator",
    ),
    "unanswered": Words(
        "The destination's answer does not name this object; it is tried again.",
        "目的地的应答未提及该对象，系统会自动重试。",
        "operator",
    ),
    "original-damaged": Words(
        "The stored file is missing or damaged here: the operator restores it.",
        "本归档中的原始文件缺失或损坏，请运维人员恢复。",
        "operator",
    ),
    "not-archived": Words(
        "The object has been removed from this archive.", "该对象已从本归档删除。", "admin", lasting=True
    ),
    "store-unavailable": Words(
        "This archive's own store does not answer; it is tried again.",
        "本归档的存储暂无应答，系统会自动重试。",
        "retry",
    ),
    "original-archived": Words(
        "The stored file is in the store's archive and is being restored; it is sent when it is back.",
        "原始文件在存储的归档层，正在取回，取回后自动发送。",
        "retry",
    ),
    "looked-at-late": Words(
        "Routing was off when it came, for longer than unsent instances are kept waiting: it is sent when an admin tries again.",
        "接收该对象时转发功能未运行，且已超过等待期限；如需发送，请管理员重试。",
        "admin",
        lasting=True,
    ),
    "error-of-ours": Words("An error of ours; quote the time.", "我方内部错误，请告知发生时间。", "vendor"),
}

OF_DESTINATION = frozenset({
    "unreachable", "timeout", "broken-off", "access-refused", "certificate-refused", "token-unreadable",
    "address-refused", "not-dicomweb", "busy", "destination-failed", "association-rejected", "no-room",
})  # fmt: skip
"""What the destination itself fails at: what waits for it goes on at once when it is back."""

OF_OURS = frozenset({"store-unavailable", "original-archived"})
"""What our own store fails at: no destination and no instance is to blame, so it is given up by age alone."""

REASONS: dict[str, tuple[str, str]] = {
    "rule-disabled": ("The rule is switched off.", "该规则已停用。"),
    "destination-unknown": ("The rule's destination is no longer set up.", "该规则的目的地已不在配置中。"),
    "before-rule": ("It was received before the rule was made or switched on.", "该对象在规则建立或启用之前收到。"),
    "came-from-there": ("It came from that AE title: it does not go back.", "该对象来自该 AE，不会送回。"),
    "not-looked-at-yet": (
        "It will be looked at in a moment, or was minutes ago, when rules or destinations stood otherwise.",
        "即将处理，或数分钟前处理时规则、目的地与现在不同。",
    ),
    "looked-at-otherwise": (
        "It was looked at when rules or destinations stood otherwise, or it was sent long ago.",
        "处理该对象时规则或目的地与现在不同，或该对象早已发送。",
    ),
    "modalities": ("Another modality than the rule's.", "检查模态不符合规则。"),
    "sop_class_uids": ("Another SOP class than the rule's.", "SOP 类不符合规则。"),
    "study_descriptions": ("Another study description than the rule's.", "检查描述不符合规则。"),
    "series_descriptions": ("Another series description than the rule's.", "序列描述不符合规则。"),
    "station_names": ("Another station name than the rule's, or none.", "设备名称不符合规则或缺失。"),
    "calling_ae_titles": ("From another AE title than the rule's, or not by DICOM.", "来源 AE 标题不符合规则。"),
    "origins": ("It came by another way than the rule's.", "接收途径不符合规则。"),
    "slice_thickness_at_least_mm": ("Its slices are thinner than the rule's, or not said.", "层厚小于规则或未注明。"),
    "slice_thickness_at_most_mm": ("Its slices are thicker than the rule's, or not said.", "层厚大于规则或未注明。"),
    "study_age_at_most_days": ("The study is older than the rule's, or has no date.", "检查日期过早或缺失。"),
}


def words_of(problem: str) -> Words:
    """Return a problem's words; an unknown one is an error of ours."""
    return PROBLEMS.get(problem, PROBLEMS["error-of-ours"])
