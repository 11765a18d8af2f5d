"""Every problem that a person can meet has a sentence in Chinese; the server's own sentence is the English one."""

from __future__ import annotations

import re
from pathlib import Path

ROOMS = ("libs/consilium_core", "libs/consilium_platform", "libs/consilium_archive")
SERVICES = ("gateway", "consult", "live", "imaging")
# What only programs meet: site agents, WHIP/WHEP and DICOM clients, internal calls, and start-up.
FOR_PROGRAMS = {
    "checksum-mismatch",
    "client-not-built",
    "command-closed",
    "command-expired",
    "command-not-found",
    "enrolment-code-refused",
    "enrolment-code-spent",
    "error",
    "events-disordered",
    "foreign-site",
    "ice-restart-unsupported",
    "identity-differs",
    "instance-conflict",
    "instance-doubtful",
    "instance-mismatch",
    "instance-tombstoned",
    "instance-rejected",
    "password-wrong",
    "patient-mismatch",
    "precondition-failed",
    "precondition-required",
    "session-required",
    "settings-invalid",
    "site-secret-refused",
    "study-mismatch",
    "too-large",
    "unsupported-media-type",
}


def test_every_code_that_people_meet_has_chinese_words(repo: Path) -> None:
    folders = [repo / room for room in ROOMS]
    folders += [repo / "services" / name / f"consilium_{name}" for name in SERVICES]
    codes = {
        code
        for folder in folders
        for path in folder.rglob("*.py")
        for code in re.findall(r'^ {4}code(?:: ClassVar\[str\])? = "([a-z-]+)"', path.read_text(), re.MULTILINE)
    }
    words = (repo / "web/src/lib/i18n/problems-zh-CN.ts").read_text()
    known = {a or b for a, b in re.findall(r"^  (?:'([^']+)'|([a-z]+)):", words, re.MULTILINE)}
    assert codes - known == FOR_PROGRAMS & codes, "give the new code words in problems-zh-CN.ts, or name it above"
