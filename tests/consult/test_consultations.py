"""Patients and consultations over HTTP, in both worlds."""

from __future__ import annotations

import asyncio

from consilium_core.events import EventType
from consilium_core.roles import Role


async def test_a_patient_is_found_by_any_script_and_by_pinyin(consult) -> None:
    await consult.patient()
    for words in ("王", "小东", "wang", "wang xiao", "WANGXIAODONG", "p1", "xiaodong wang"):
        found = (await consult.call(Role.SPECIALIST, "GET", "/patients", params={"q": words})).json()["items"]
        assert [p["patient_id"] for p in found] == ["P1"], words
    for words in ("li", "%", "_", "王五"):
        assert (await consult.call(Role.SPECIALIST, "GET", "/patients", params={"q": words})).json()["items"] == []


async def test_the_same_number_twice_is_a_conflict(consult) -> None:
    await consult.patient()
    body = {"patient_id": "P1", "issuer": "H1", "name": {"family": "Other"}}
    answer = await consult.call(Role.OPERATOR, "POST", "/patients", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "patient-exists")


async def test_names_that_would_break_dicom_are_refused(consult) -> None:
    for family in ("Wang^Li", "a=b", "a\\b", "a\x00b"):
        body = {"patient_id": "P9", "name": {"family": family}}
        assert (await consult.call(Role.OPERATOR, "POST", "/patients", json=body)).status_code == 422


async def test_what_dicom_or_the_database_could_not_hold_is_refused(consult) -> None:
    good = {"patient_id": "P9", "name": {"family": "Wang"}, "birth_date": "20000229"}
    for wrong in (
        {"birth_date": "99999999"},
        {"birth_date": "20010229"},
        {"patient_id": "a\\b"},
        {"patient_id": "a\x00b"},
    ):
        assert (await consult.call(Role.OPERATOR, "POST", "/patients", json={**good, **wrong})).status_code == 422, (
            wrong
        )
    patient = (await consult.call(Role.OPERATOR, "POST", "/patients", json=good)).json()
    for wrong in ({"study_uid": "..."}, {"study_uid": "1.02"}, {"accession_number": "a\\b"}, {"question": "a\x00b"}):
        body = {"patient_id": patient["id"], "question": "Why?", **wrong}
        assert (await consult.call(Role.OPERATOR, "POST", "/consultations", json=body)).status_code == 422, wrong


async def test_the_rooms_title_says_nothing_of_the_patient(consult) -> None:
    case = await consult.consultation()
    await consult.call(Role.SPECIALIST, "POST", f"/consultations/{case['id']}/accept")
    await consult.call(Role.SPECIALIST, "POST", f"/consultations/{case['id']}/start")
    for words in (case["accession_number"], "Wang", "王", "P1"):
        assert words not in consult.rooms[0]["title"]


async def test_a_consultation_goes_from_request_to_report(consult) -> None:
    case = await consult.consultation()
    assert case["state"] == "requested"
    assert case["patient"]["name"]["ideographic"] == "王^小东"
    accepted = (await consult.call(Role.SPECIALIST, "POST", f"/consultations/{case['id']}/accept")).json()
    assert (accepted["state"], accepted["accepted_by"]) == ("accepted", "specialist")
    started = (await consult.call(Role.SPECIALIST, "POST", f"/consultations/{case['id']}/start")).json()
    assert (started["state"], started["room_id"]) == ("in_session", "room-1")
    context = consult.rooms[0]["context"]
    assert context["patient"]["name"] == "Wang^Xiaodong=王^小东"
    assert context["study_uid"] == case["study_uid"]
    finished = (await consult.call(Role.OPERATOR, "POST", f"/consultations/{case['id']}/finish")).json()
    assert finished["state"] == "reporting"
    assert finished["report_id"]
    assert [(h["from"], h["to"]) for h in finished["history"]] == [
        ("", "requested"), ("requested", "accepted"), ("accepted", "in_session"), ("in_session", "reporting"),
    ]  # fmt: skip


async def test_starting_twice_opens_one_room(consult) -> None:
    case = await consult.consultation()
    await consult.call(Role.SPECIALIST, "POST", f"/consultations/{case['id']}/accept")
    answers = await asyncio.gather(
        *(consult.call(Role.SPECIALIST, "POST", f"/consultations/{case['id']}/start") for _ in range(4))
    )
    assert {a.json()["room_id"] for a in answers} == {"room-1"}
    assert len(consult.rooms) == 1


async def test_of_two_specialists_one_gets_the_case(consult) -> None:
    case = await consult.consultation()
    answers = await asyncio.gather(
        *(
            consult.call(Role.SPECIALIST, "POST", f"/consultations/{case['id']}/accept", subject=f"s{n}")
            for n in range(5)
        )
    )
    assert sorted(a.status_code for a in answers) == [200, 409, 409, 409, 409]
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"already-accepted"}


async def test_cancelling_needs_a_reason_and_ends_it(consult) -> None:
    case = await consult.consultation()
    path = f"/consultations/{case['id']}"
    assert (await consult.call(Role.OPERATOR, "POST", f"{path}/cancel")).json()["code"] == "reason-needed"
    ended = await consult.call(Role.OPERATOR, "POST", f"{path}/cancel", json={"reason": "patient has left"})
    assert ended.json()["state"] == "cancelled"
    again = await consult.call(Role.SPECIALIST, "POST", f"{path}/accept")
    assert (again.status_code, again.json()["code"]) == (409, "transition-refused")


async def test_every_move_is_announced_without_patient_data(consult) -> None:
    async with consult.platform.bus.subscribe() as events:
        case = await consult.consultation()
        event = await events.next(5)
    assert (event.type, event.subject) == (EventType.CONSULTATION_CHANGED, case["id"])
    assert event.data == {"state": "requested"}


async def test_views_are_audited_with_the_patient(consult) -> None:
    case = await consult.consultation()
    await consult.call(Role.SPECIALIST, "GET", f"/consultations/{case['id']}")
    seen = await consult.platform.audit.search("demo", action="consultation.view", actor="specialist")
    assert [(entry["subject"], entry["patient_id"]) for entry in seen] == [(case["id"], "P1")]


async def test_lists_are_audited_for_every_patient_they_show(consult) -> None:
    await consult.consultation()
    await consult.call(Role.SPECIALIST, "GET", "/consultations")
    await consult.call(Role.SPECIALIST, "GET", "/patients")
    seen = await consult.platform.audit.search("demo", patient_id="P1", actor="specialist")
    assert {entry["action"] for entry in seen} == {"consultation.list", "patient.search"}


async def test_another_tenant_sees_nothing(consult) -> None:
    case = await consult.consultation()
    for path in (f"/consultations/{case['id']}", f"/patients/{case['patient']['id']}"):
        answer = await consult.call(Role.SPECIALIST, "GET", path, tenant="other")
        assert answer.status_code == 404
    assert (await consult.call(Role.SPECIALIST, "GET", "/consultations", tenant="other")).json()["items"] == []


async def test_pages_follow_each_other_without_gaps(consult) -> None:
    patient = await consult.patient()
    made = [(await consult.consultation(patient=patient))["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await consult.call(Role.SPECIALIST, "GET", "/consultations", params=params)).json()
        seen += [item["id"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == sorted(made, reverse=True)
