"""The demo hospital: users, patients, stored studies, a room, and a real site agent as a process of its own.

Everything goes through the same doors as in a real installation (HTTP with tokens); a second start finds what is there. The people
are roles, the pictures are pydicom-data's; names are made of the words "demo" and "patient".
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import structlog

from consilium_core.errors import Invalid, Unavailable
from consilium_core.ids import uid_from
from consilium_core.roles import Role
from consilium_platform.platform import Platform
from consilium_platform.tokens import write_private

log = structlog.get_logger()
TENANT = "demo"
SITE_ID = "demo-site"
SITE_NAME = "Demo County Hospital"
ROOM_ID = "demo"
USERS: dict[str, tuple[Role, str]] = {
    "operator": (Role.OPERATOR, "Demo Operator"),
    "specialist": (Role.SPECIALIST, "Demo Specialist"),
    "reviewer": (Role.REVIEWER, "Demo Reviewer"),
    "trainee": (Role.TRAINEE, "Demo Trainee"),
    "referrer": (Role.REFERRER, "Demo Referrer"),
    "qc": (Role.QC, "Demo Quality Reader"),
    "itsec": (Role.ITSEC, "Demo IT Security"),
    "admin": (Role.ADMIN, "Demo Administrator"),
}
PATIENT = {
    "patient_id": "DEMO-0001",
    "issuer": "DEMO",
    "birth_date": "19680412",
    "sex": "F",
    "name": {"family": "Patient", "given": "Demo", "ideographic": "示例^患者", "phonetic": ""},
}
PN = "Patient^Demo=示例^患者"
LIVE_STUDY = uid_from("demo", "live-study")
DICOM_JSON = "application/dicom+json"
_SEED_AFTER_S = 30.0  # a demo without a picture gets its archive all the same


class DemoRefused(Unavailable):
    """A service did not take what the demo hospital asked for."""

    code = "demo-refused"


async def run_demo(platform: Platform, url: str, data: Path, source: str) -> None:
    """Make users, site and room, then keep the agent running, wait for the first live frame and seed what is missing.

    The agent is kept and what fails is tried again with growing pauses: a demo hospital that has started does not end by itself.
    """
    state = await asyncio.to_thread(_private_folder, data / "site")
    passwords = await _users(platform, data)
    _tell_users(passwords)
    await _room(platform)
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client, asyncio.TaskGroup() as group:
        group.create_task(_keep_agent(platform, url, state, source), name="demo-agent")
        live = group.create_task(_tell_live(platform, client, url), name="demo-live")
        await asyncio.wait({live}, timeout=_SEED_AFTER_S)
        if not live.done():
            _say(f"No picture has come from the demo hospital yet; why, stands in {state / 'agent.log'}.")
        await _until_done("The demo data could not be stored", partial(_seed, platform, client))


async def _tell_live(platform: Platform, client: httpx2.AsyncClient, url: str) -> None:
    await _until_done("The demo hospital's stream could not be started", partial(_go_live, platform, client))
    _say(f"Live: the first frame of the demo hospital has arrived. Room: {url}/rooms/{ROOM_ID}")


async def _until_done(failed: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do ``work`` until it succeeds, with pauses of 1 s growing to 60 s; the first failure is told in a sentence, all are logged."""
    pause, told = 1.0, False
    while True:
        try:
            await work()
        except Exception as problem:
            log.info("demo_step_failed", step=failed, error=str(problem), kind=type(problem).__name__)
            if not told:
                _say(f"{failed} ({problem or type(problem).__name__}); it is tried again.")
                told = True
        else:
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, 60.0)


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


async def _keep_agent(platform: Platform, url: str, state: Path, source: str) -> None:
    """Run the agent and start it again when it dies, as a hospital's service manager would."""

    async def once() -> None:
        code = await _site(platform)
        async with _agent(url, state, source, code) as agent:
            status = await agent.wait()
        log.warning("demo_agent_ended", status=status)

    while True:
        await _until_done("The demo hospital's agent could not be started", once)
        await asyncio.sleep(1)


async def _users(platform: Platform, data: Path) -> dict[str, str]:
    from consilium_gateway.flow.users import ensure_user, find_user

    path = data / "demo-passwords.json"
    passwords = await asyncio.to_thread(_kept_passwords, path)
    lost = passwords is None
    if passwords is None:
        passwords = {name: f"{secrets.token_hex(3)}-{secrets.token_hex(3)}" for name in USERS}
    for username, (role, name) in USERS.items():
        known = await find_user(platform.database, username=username)
        password = passwords[username] if lost or known is None else None
        await ensure_user(platform.database, tenant=TENANT, username=username, name=name, role=role, password=password)
    if lost:  # last: a start that was cut short sets them all again
        await asyncio.to_thread(write_private, path, json.dumps(passwords))
    return passwords


def _kept_passwords(path: Path) -> dict[str, str] | None:
    """Return the passwords of an earlier start, or None when the file is lost or does not fit the users."""
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) and set(kept) == set(USERS) else None


def _tell_users(passwords: dict[str, str]) -> None:
    sys.stdout.write("Demo users (passwords made for this data folder alone):\n")
    for username, password in passwords.items():
        sys.stdout.write(f"  {username:<11} {password}\n")
    sys.stdout.flush()


async def _site(platform: Platform) -> str | None:
    """Return a fresh enrolment code when the demo site has not enrolled yet, else None."""
    from consilium_gateway.flow.sites import ensure_site_code

    return await ensure_site_code(platform.database, platform.clock, tenant=TENANT, site_id=SITE_ID, name=SITE_NAME)


async def _room(platform: Platform) -> None:
    context = {
        "patient": {**{k: PATIENT[k] for k in ("patient_id", "issuer", "birth_date", "sex")}, "name": PN},
        "study_uid": LIVE_STUDY,
        "accession_number": "DEMO-A1",
        "modality": "US",
        "study_description": "Echocardiography, live consultation",
    }
    room = {"id": ROOM_ID, "title": "Echo laboratory", "site_id": SITE_ID, "site_name": SITE_NAME, "context": context}
    await platform.services.call("live", "POST", "/internal/v1/rooms", tenant=TENANT, caller="demo", json=room)


def _die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends, however that ends (prctl(2), PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _private_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder.resolve()


@asynccontextmanager
async def _agent(url: str, state: Path, source: str, code: str | None) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the site agent as a process of its own for the length of the block."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONSILIUM_")}
    environment |= {
        "CONSILIUM_SITE_SERVER_URL": url,
        "CONSILIUM_SITE_STATE_DIR": str(state),
        "CONSILIUM_SITE_SOURCE": source,
        "CONSILIUM_SITE_SITE_NAME": SITE_NAME,
    }
    if code is not None:
        environment["CONSILIUM_SITE_ENROLMENT_CODE"] = code
    with (state / "agent.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "consilium",
            "site",
            "run",
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(5):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _headers(platform: Platform, username: str) -> dict[str, str]:
    from consilium_gateway.flow.users import issue_token

    if platform.user_signer is None:
        raise Invalid("The demo needs the embedded default's own signing key.")
    token = await issue_token(platform.database, platform.user_signer, username, 300)
    return {"Authorization": f"Bearer {token}"}


async def _go_live(platform: Platform, client: httpx2.AsyncClient) -> None:
    """Ask for the stream until the room delivers packets."""
    asked_at = -60.0
    while True:
        headers = await _headers(platform, "operator")
        room = _answer(await client.get(f"/api/v1/rooms/{ROOM_ID}", headers=headers), "the room", 200)
        if room.get("live"):
            return
        now = asyncio.get_running_loop().time()
        if now - asked_at > 2:
            asked_at = now
            answer = await client.post(f"/api/v1/rooms/{ROOM_ID}/stream", json={"action": "start"}, headers=headers)
            if answer.status_code >= 300:  # the site has not said hello yet
                log.info("demo_stream_not_started", status=answer.status_code)
        await asyncio.sleep(0.2)


def _answer(answer: httpx2.Response, what: str, *wanted: int) -> dict[str, Any]:
    """Return the body, or raise DemoRefused with the reason that the service gave."""
    if answer.status_code not in wanted:
        try:
            reason = str(answer.json().get("detail", ""))
        except (ValueError, AttributeError):
            reason = ""
        raise DemoRefused(f"{what}: {answer.status_code} {reason}".strip())
    body: dict[str, Any] = answer.json() if answer.status_code != 204 else {}
    return body


async def _seed(platform: Platform, client: httpx2.AsyncClient) -> None:
    """Store the demo patient, prior studies and one open request, unless they are there."""
    headers = await _headers(platform, "operator")
    listed = await client.get("/api/v1/patients", params={"q": str(PATIENT["patient_id"])}, headers=headers)
    found = _answer(listed, "the patients", 200)["items"]
    patient = found[0] if found else None
    if patient is None:
        patient = _answer(await client.post("/api/v1/patients", json=PATIENT, headers=headers), "the patient", 201)
    await _store_priors(client, headers)
    consultations = _answer(await client.get("/api/v1/consultations", headers=headers), "the requests", 200)["items"]
    if not consultations:
        request = {
            "patient_id": patient["id"],
            "urgency": "urgent",
            "kind": "live",
            "question": "Is the mitral regurgitation worse than seven months ago?",
        }
        _answer(await client.post("/api/v1/consultations", json=request, headers=headers), "the request", 201)


async def _store_priors(client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    """Store what the archive does not have of the demo patient's earlier examination: real pictures that the pydicom wheels ship."""
    from consilium.demo_objects import prior_objects, prior_uids

    asked = {"SOPInstanceUID": ",".join(prior_uids())}
    answer = await client.get("/dicomweb/instances", params=asked, headers={**headers, "Accept": DICOM_JSON})
    stored = set() if answer.status_code == 204 else {item["00080018"]["Value"][0] for item in _list(answer)}
    missing = [number for number, uid in enumerate(prior_uids()) if uid not in stored]
    if not missing:
        return
    who = (PATIENT["patient_id"], PN, PATIENT["birth_date"], PATIENT["sex"])
    objects = await asyncio.to_thread(prior_objects, *map(str, who))
    for number in missing:
        answer = await client.post(
            "/dicomweb/studies",
            content=objects[number],
            headers={**headers, "Content-Type": "application/dicom"},
            timeout=60,
        )
        _answer(answer, "an earlier picture", 200)


def _list(answer: httpx2.Response) -> list[dict[str, Any]]:
    if answer.status_code != 200:
        _answer(answer, "the archive", 200)
    items: list[dict[str, Any]] = answer.json()
    return items
