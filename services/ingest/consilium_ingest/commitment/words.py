"""The words of the printed receipt, in Chinese and English."""

from __future__ import annotations

from typing import Literal

Language = Literal["zh-CN", "en"]

LABELS: dict[Language, dict[str, str]] = {
    "zh-CN": {
        "title": "影像存储回执",
        "all": "以下 {total} 个对象全部已安全归档。仅限这些对象，发送方可以删除本地副本。",
        "some": "{total} 个对象中有 {missing} 个未归档，不得删除其本地副本。",
        "transaction": "事务 UID",
        "study": "检查 UID",
        "asked_by": "申请方",
        "asked_at": "申请时间",
        "decided_at": "核查时间",
        "studies": "涉及的检查（供核对，不在签名之内）",
        "patient": "患者编号",
        "accession": "检查号",
        "date": "检查日期",
        "number": "序号",
        "instance": "SOP 实例 UID / 类 UID",
        "hash": "SHA-256",
        "size": "字节",
        "stored": "入库时间",
        "places": "主存储 / 副本",
        "state": "结论",
        "committed": "已归档",
        "signature": "电子签名",
        "key": "密钥",
        "thumbprint": "密钥指纹",
        "digest": "签名文件 SHA-256",
        "check": "核验：保存回执文件后运行 consilium verify-receipt 文件名。本页为其打印件，以签名文件为准。",
        "count": "归档方无法得知从未发送的对象：请与设备上的图像数核对。",
        "utc": "时间均为协调世界时 (UTC)。",
    },
    "en": {
        "title": "Receipt of stored images",
        "all": "Safely archived: {total} of {total} objects. The sender may delete its copies of these, and of no others.",
        "some": "NOT archived: {missing} of {total} objects. Do not delete the sender's copies of them.",
        "transaction": "Transaction UID",
        "study": "Study Instance UID",
        "asked_by": "Asked by",
        "asked_at": "Asked at",
        "decided_at": "Looked at",
        "studies": "Studies named here (for comparison, not part of what is signed)",
        "patient": "Patient ID",
        "accession": "Accession",
        "date": "Study date",
        "number": "No.",
        "instance": "SOP Instance UID / SOP Class UID",
        "hash": "SHA-256",
        "size": "Bytes",
        "stored": "Stored at",
        "places": "First place / second copy",
        "state": "Verdict",
        "committed": "archived",
        "signature": "Signature",
        "key": "Key",
        "thumbprint": "Key thumbprint",
        "digest": "SHA-256 of the signed text",
        "check": "To check it: save the receipt as a file and run consilium verify-receipt FILE. This page is a print; the signed file counts.",
        "count": "The archive can't know what was never sent: compare the number of objects with the device's.",
        "utc": "All times are UTC.",
    },
}

WHY: dict[Language, dict[str, str]] = {
    "zh-CN": {
        "unknown": "未归档：没有此对象，请发送",
        "held": "未归档：在隔离区等待人工审核",
        "removed": "未归档：保存期满已删除",
        "class-differs": "未归档：SOP 类与入库时不同",
        "damaged": "未归档：存储文件缺失或损坏，请重新发送",
        "undecided": "未归档：未能核查，请重新申请",
        "transaction-in-use": "未归档：事务 UID 已被使用",
    },
    "en": {
        "unknown": "NOT archived: unknown, send it",
        "held": "NOT archived: waits in quarantine for a person",
        "removed": "NOT archived: removed when its retention ended",
        "class-differs": "NOT archived: stored under another SOP class",
        "damaged": "NOT archived: missing or damaged, send it again",
        "undecided": "NOT archived: could not be looked at, ask again",
        "transaction-in-use": "NOT archived: the Transaction UID is in use",
    },
}

PLACES: dict[Language, dict[str, str]] = {
    "zh-CN": {
        "stored": "完好", "missing": "缺失", "corrupt": "损坏", "none": "未设", "waiting": "待复制", "copied": "完好",
    },
    "en": {
        "stored": "whole", "missing": "missing", "corrupt": "damaged", "none": "none", "waiting": "not yet", "copied": "whole",
    },
}  # fmt: skip
