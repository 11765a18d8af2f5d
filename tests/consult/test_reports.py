"""Reports over HTTP, in both worlds: drafted below, signed above, every change traced, locked by the database."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.consult.conftest import PASSWORD

from consilium_consult.adapters import page
from consilium_consult.settings import ConsultSettings, zone_of
from consilium_core.roles import Role
from consilium_platform.settings import SettingsInvalid

NEW = {"findings": "二尖瓣反流 severe.", "impression": "Worse 加重", "recommendation": ""}


async def sign(consult, report: dict, password: str):
    headers = {"If-Match": report["etag"]}
    return await consult.call(
        Role.REVIEWER, "POST", f"/reports/{report['id']}/sign", json={"password": password}, headers=headers
    )


async def signed(consult) -> dict:
    report = await consult.report()
    answer = await sign(consult, report, PASSWORD)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_signing_locks_the_report_and_completes_the_consultation(consult) -> None:
    report = await signed(consult)
    assert (report["state"], report["signed_by"]["id"]) == ("signed", "reviewer")
    assert len(report["hash"]) == 64
    case = (await consult.call(Role.SPECIALIST, "GET", f"/consultations/{report['consultation_id']}")).json()
    assert case["state"] == "completed"
    later = await consult.save(Role.REVIEWER, report["id"], report["version"], NEW, "changed my mind")
    assert (later.status_code, later.json()["code"]) == (409, "report-locked")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE report SET sections = '{}'",
        "UPDATE report SET state = 'drafting'",
        "DELETE FROM report",
        "UPDATE report_version SET sections = '{}'",
        "DELETE FROM report_change",
        "DELETE FROM report_version",
    ],
)
async def test_the_database_itself_refuses_to_change_what_is_signed(consult, statement: str) -> None:
    await signed(consult)
    with pytest.raises(DBAPIError):
        async with consult.platform.database.engine.begin() as connection:
            await connection.execute(text(statement))


@pytest.mark.parametrize("world", ["embedded"])
@pytest.mark.parametrize(
    "statement",
    [
        "REPLACE INTO report SELECT * FROM report",
        "UPDATE OR REPLACE report SET consultation = (SELECT consultation FROM report WHERE state = 'signed') WHERE state <> 'signed'",
        "UPDATE OR REPLACE report SET id = (SELECT id FROM report WHERE state = 'signed') WHERE state <> 'signed'",
        "REPLACE INTO report_version SELECT * FROM report_version",
        "REPLACE INTO report_change SELECT * FROM report_change",
    ],
)
async def test_sqlite_refuses_to_replace_what_is_signed(consult, statement: str) -> None:
    await signed(consult)
    await consult.report("P2")
    with pytest.raises(DBAPIError, match=r"locked|append-only"):
        async with consult.platform.database.engine.begin() as connection:
            await connection.execute(text(statement))


async def test_a_report_that_was_changed_behind_the_lock_is_not_shown_as_signed(consult) -> None:
    report = await signed(consult)
    unlock = (
        "DROP TRIGGER report_locked_update"
        if consult.platform.database.is_sqlite
        else "ALTER TABLE report DISABLE TRIGGER ALL"
    )
    async with consult.platform.database.engine.begin() as connection:
        await connection.execute(text(unlock))
        await connection.execute(text("UPDATE report SET author_name = 'Somebody else'"))
    for path in (f"/reports/{report['id']}", f"/reports/{report['id']}/pdf"):
        shown = await consult.call(Role.REVIEWER, "GET", path)
        assert (shown.status_code, shown.json()["code"]) == (500, "signature-broken")


@pytest.mark.parametrize("header", ["²", '"1e3"', "9" * 12, "-1"])
async def test_a_version_that_is_no_number_is_refused_in_words(consult, header: str) -> None:
    report = await consult.report()
    answer = await consult.call(
        Role.REVIEWER, "PUT", f"/reports/{report['id']}", json={"sections": NEW}, headers={"If-Match": header.encode()}
    )
    assert (answer.status_code, answer.json()["code"]) == (428, "if-match-needed")


async def test_an_act_whose_audit_entry_can_not_be_written_has_not_happened(consult, monkeypatch) -> None:
    report = await consult.report()

    def broken(*_: object) -> None:
        raise RuntimeError("no trail")

    with monkeypatch.context() as trail:
        trail.setattr(consult.platform.audit, "append", broken)
        assert (await sign(consult, report, PASSWORD)).status_code == 500
    after = (await consult.call(Role.REVIEWER, "GET", f"/reports/{report['id']}")).json()
    assert (after["state"], after["version"]) == ("in_review", report["version"])
    assert (await sign(consult, report, PASSWORD)).status_code == 200


async def test_nothing_about_patients_is_cached(consult) -> None:
    await signed(consult)
    for path in ("/patients", "/consultations", "/reports"):
        assert (await consult.call(Role.SPECIALIST, "GET", path)).headers["cache-control"] == "no-store"


async def test_a_wrong_password_signs_nothing_and_is_audited(consult) -> None:
    report = await consult.report()
    answer = await sign(consult, report, "guess")
    assert (answer.status_code, answer.json()["code"]) == (403, "signature-refused")
    assert (await consult.call(Role.REVIEWER, "GET", f"/reports/{report['id']}")).json()["state"] == "in_review"
    denied = await consult.platform.audit.search("demo", action="report.sign", outcome="denied")
    assert len(denied) == 1
    assert "wrong password" in denied[0]["detail"]


async def test_signing_names_the_version_that_was_read(consult) -> None:
    report = await consult.report()
    path = f"/reports/{report['id']}/sign"
    blind = await consult.call(Role.REVIEWER, "POST", path, json={"password": PASSWORD})
    assert (blind.status_code, blind.json()["code"]) == (428, "if-match-needed")
    await consult.save(Role.REVIEWER, report["id"], report["version"], NEW, "newer")
    late = await sign(consult, report, PASSWORD)
    assert (late.status_code, late.json()["code"]) == (412, "report-changed")


async def test_a_reviewer_can_not_take_over_a_draft(consult) -> None:
    case = await consult.consultation()
    for role, verb in ((Role.SPECIALIST, "accept"), (Role.OPERATOR, "finish")):
        answer = await consult.call(role, "POST", f"/consultations/{case['id']}/{verb}")
    report_id = answer.json()["report_id"]
    taken = await consult.save(Role.REVIEWER, report_id, 0, NEW)
    assert taken.status_code == 403
    denied = await consult.platform.audit.search("demo", action="report.edit", outcome="denied")
    assert [entry["actor"] for entry in denied] == ["reviewer"]
    assert (await consult.save(Role.OPERATOR, report_id, 0, NEW)).status_code == 200


async def test_only_the_reviewer_returns_a_report_never_its_author(consult) -> None:
    report = await consult.report()
    for subject in ("specialist", "operator"):
        answer = await consult.call(
            Role.SPECIALIST, "POST", f"/reports/{report['id']}/return", subject=subject, json={"reason": "mine again"}
        )
        assert answer.status_code == 403
    denied = await consult.platform.audit.search("demo", action="report.return", outcome="denied")
    assert len(denied) == 2


async def test_key_images_and_language_are_traced_too(consult) -> None:
    report = await consult.report()
    image = {"study_uid": "1.2", "series_uid": "1.3", "sop_instance_uid": "1.4", "frame": 7}
    body = {"sections": report["sections"], "key_images": [image], "language": "en", "reason": "seen best here"}
    headers = {"If-Match": report["etag"]}
    assert (
        await consult.call(Role.REVIEWER, "PUT", f"/reports/{report['id']}", json=body, headers=headers)
    ).status_code == 200
    trace = (await consult.call(Role.OPERATOR, "GET", f"/reports/{report['id']}/changes")).json()["items"]
    assert [c["section"] for c in trace if c["by"]["id"] == "reviewer"] == ["key_images", "language"]
    last = (await consult.call(Role.OPERATOR, "GET", f"/reports/{report['id']}/versions")).json()["items"][-1]
    assert (last["key_images"], last["language"]) == ([image], "en")
    seen = await consult.platform.audit.search("demo", patient_id="P1", actor="operator")
    assert {"report.changes", "report.versions"} <= {entry["action"] for entry in seen}


async def test_the_author_and_the_same_grade_can_not_review(consult) -> None:
    case = await consult.consultation()
    for role, verb in ((Role.SPECIALIST, "accept"), (Role.SPECIALIST, "finish")):
        answer = await consult.call(role, "POST", f"/consultations/{case['id']}/{verb}")
    report_id = answer.json()["report_id"]
    await consult.save(Role.SPECIALIST, report_id, 0, NEW)
    await consult.call(Role.SPECIALIST, "POST", f"/reports/{report_id}/submit")
    for subject in ("specialist", "another"):
        answer = await consult.call(Role.SPECIALIST, "POST", f"/reports/{report_id}/review", subject=subject)
        assert (answer.status_code, answer.json()["code"]) == (403, "signature-refused")


async def test_a_lost_race_names_the_newer_version_and_loses_nothing(consult) -> None:
    report = await consult.report()
    answers = await asyncio.gather(
        *(
            consult.save(Role.REVIEWER, report["id"], report["version"], {**NEW, "findings": f"text {n}"}, "why")
            for n in range(3)
        )
    )
    assert sorted(a.status_code for a in answers) == [200, 412, 412]
    won = next(a.json() for a in answers if a.status_code == 200)
    assert {a.json()["version"] for a in answers if a.status_code == 412} == {won["version"]}


async def test_saving_needs_the_version_that_was_read(consult) -> None:
    report = await consult.report()
    answer = await consult.call(Role.REVIEWER, "PUT", f"/reports/{report['id']}", json={"sections": NEW, "reason": "x"})
    assert (answer.status_code, answer.json()["code"]) == (428, "if-match-needed")


async def test_a_reviewers_change_without_a_reason_is_refused_and_with_one_is_traced(consult) -> None:
    report = await consult.report()
    refused = await consult.save(Role.REVIEWER, report["id"], report["version"], NEW)
    assert refused.json()["code"] == "reason-needed"
    saved = await consult.save(Role.REVIEWER, report["id"], report["version"], NEW, "seen on the clip")
    assert saved.status_code == 200
    trace = (await consult.call(Role.OPERATOR, "GET", f"/reports/{report['id']}/changes")).json()["items"]
    last = [c for c in trace if c["by"]["id"] == "reviewer"]
    assert [(c["section"], c["before"], c["after"], c["reason"]) for c in last] == [
        ("findings", "二尖瓣反流 moderate.", "二尖瓣反流 severe.", "seen on the clip"),
        ("impression", "No change 无变化", "Worse 加重", "seen on the clip"),
    ]
    acts = [
        v["act"]
        for v in (await consult.call(Role.OPERATOR, "GET", f"/reports/{report['id']}/versions")).json()["items"]
    ]
    assert acts == ["edit", "submit", "review", "edit"]


async def test_a_returned_report_goes_back_to_its_author(consult) -> None:
    report = await consult.report()
    path = f"/reports/{report['id']}"
    assert (await consult.call(Role.REVIEWER, "POST", f"{path}/return", json={"reason": ""})).json()[
        "code"
    ] == "reason-needed"
    returned = (await consult.call(Role.REVIEWER, "POST", f"{path}/return", json={"reason": "add a measure"})).json()
    assert returned["state"] == "returned"
    foreign = await consult.save(Role.SPECIALIST, report["id"], returned["version"], NEW)
    assert foreign.status_code == 403
    saved = (await consult.save(Role.OPERATOR, report["id"], returned["version"], NEW)).json()
    assert saved["state"] == "drafting"


async def test_an_addendum_is_signed_beside_the_locked_report(consult) -> None:
    report = await signed(consult)
    body = {"text": "后续 follow-up in six months", "password": PASSWORD}
    answer = await consult.call(Role.REVIEWER, "POST", f"/reports/{report['id']}/addenda", json=body)
    assert answer.status_code == 201
    assert [a["text"] for a in answer.json()["addenda"]] == [body["text"]]
    assert answer.json()["hash"] == report["hash"]


async def test_the_print_is_a_pdf_with_both_scripts_and_the_same_bytes_every_time(consult, tmp_path: Path) -> None:
    report = await signed(consult)
    prints = [await consult.call(Role.REFERRER, "GET", f"/reports/{report['id']}/pdf") for _ in range(2)]
    assert prints[0].headers["content-type"] == "application/pdf"
    assert prints[0].content == prints[1].content
    file = tmp_path / "report.pdf"
    file.write_bytes(prints[0].content)
    words = subprocess.run(["pdftotext", "-layout", str(file), "-"], check=True, capture_output=True, text=True).stdout
    wanted = (
        "王小东",
        "Wang",
        "二尖瓣反流 moderate.",
        "No change 无变化",
        report["hash"],
        "签名",
        "Is it worse?",
        "UTC+0000",
    )
    for expected in wanted:
        assert expected in words
    fonts = subprocess.run(["pdffonts", str(file)], check=True, capture_output=True, text=True).stdout
    assert any("NotoSansSC" in line and " yes " in line for line in fonts.splitlines()), fonts
    audited = await consult.platform.audit.search("demo", action="report.print")
    assert len(audited) == 2


def test_times_on_paper_are_those_of_the_hospitals_wall() -> None:
    at = datetime(2030, 1, 1, 18, 30, tzinfo=UTC)
    assert page._local(at, zone_of("Asia/Shanghai")) == "2030-01-02 02:30:00 UTC+0800"
    with pytest.raises(SettingsInvalid, match="Mars"):
        ConsultSettings.load(time_zone="Mars/Olympus")


async def test_a_draft_says_on_paper_that_it_is_one(consult, tmp_path: Path) -> None:
    report = await consult.report()
    file = tmp_path / "draft.pdf"
    file.write_bytes((await consult.call(Role.REVIEWER, "GET", f"/reports/{report['id']}/pdf")).content)
    words = subprocess.run(["pdftotext", str(file), "-"], check=True, capture_output=True, text=True).stdout
    assert "DRAFT, not signed" in words
