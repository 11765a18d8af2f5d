"""Load on a running consilium: people who look, rooms' operators who store, hospitals that poll.

    .venv/bin/locust -f loadtest/locustfile.py --headless -u 30 -r 5 -t 60s --host http://127.0.0.1:8080

Everything goes through the one door by its public addresses. The demo users' passwords are read from the data folder of
``make run`` (``CONSILIUM_LOAD_DATA``, default ``data``); uploads are new, valid instances under a patient of their own.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from locust import FastHttpUser, between, constant, task
from locust.exception import StopUser

from consilium_core.ids import new_uid, new_ulid
from consilium_core.site_protocol import CaptureContext, PatientContext
from consilium_dicom.build import Equipment, build_still

DATA = Path(os.environ.get("CONSILIUM_LOAD_DATA", "data"))
POLL_WAIT_S = float(os.environ.get("CONSILIUM_LOAD_POLL_WAIT_S", "20"))
PATIENT = PatientContext(patient_id="LOAD-0001", name="Load^Test", birth_date="19700101", sex="O")
BOUNDARY = "consilium-load"


class Tokens:
    """One sign-in per demo user and nine minutes, shared by all simulated people: the door limits sign-ins per address."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def of(self, client: Any, username: str) -> str:
        """Return a bearer token of a demo user."""
        with self._lock:
            token, until = self._held.get(username, ("", 0.0))
            if time.monotonic() < until:
                return token
            passwords = json.loads((DATA / "demo-passwords.json").read_text())
            body = {"username": username, "password": passwords[username]}
            answer = client.post("/api/v1/session", json=body, name="sign in")
            if answer.status_code != 200:
                raise StopUser
            reply = answer.json()
            self._held[username] = (reply["access_token"], time.monotonic() + reply["expires_in_s"] - 60)
            return str(reply["access_token"])


TOKENS = Tokens()


class DoorUser(FastHttpUser):
    """Someone who talks to the door with a demo user's token."""

    abstract = True
    username = ""
    network_timeout = 90.0
    connection_timeout = 10.0

    def ask(self, method: str, path: str, name: str, **more: Any) -> Any:
        """Send one request; return its JSON, None when it failed or said nothing (Locust has counted it)."""
        headers = {"Authorization": f"Bearer {TOKENS.of(self.client, self.username)}", **more.pop("headers", {})}
        with self.client.request(method, path, name=name, headers=headers, catch_response=True, **more) as answer:
            if answer.status_code >= 400 or answer.status_code == 0:
                answer.failure(f"{answer.status_code}: {(answer.text or '')[:200]}")
                return None
            answer.success()
            kind = answer.headers.get("content-type", "")
            return answer.json() if "json" in kind and answer.text else answer.content


class Viewer(DoorUser):
    """A specialist: the work list, who is live, one study, its pictures."""

    weight = 6
    wait_time = between(0.5, 2)
    username = "specialist"

    @task(4)
    def worklist(self) -> None:
        """Look at the work list and at what is live."""
        self.ask("GET", "/api/v1/imaging/worklist", "work list")
        self.ask("GET", "/api/v1/rooms", "rooms")

    @task(6)
    def study(self) -> None:
        """Open a recent study and page through one series' pictures."""
        studies = self.ask("GET", "/dicomweb/studies?limit=20", "QIDO studies", headers=JSON)
        if not studies:
            return
        study = uid(random.choice(studies), "0020000D")
        series = self.ask("GET", f"/dicomweb/studies/{study}/series", "QIDO series", headers=JSON)
        if not series:
            return
        chosen = uid(series[0], "0020000E")
        path = f"/dicomweb/studies/{study}/series/{chosen}/instances"
        for instance in (self.ask("GET", f"{path}?limit=3", "QIDO instances", headers=JSON) or [])[:3]:
            picture = f"{path}/{uid(instance, '00080018')}/frames/1/rendered"
            self.ask("GET", picture, "WADO rendered frame", headers={"Accept": "image/jpeg"})

    @task(1)
    def room(self) -> None:
        """Read the demo room as its page does."""
        self.ask("GET", "/api/v1/rooms/demo", "room")


class Uploader(DoorUser):
    """A workstation that stores ultrasound stills by STOW-RS, ten to a study."""

    weight = 2
    wait_time = between(0.2, 1)
    username = "operator"

    def on_start(self) -> None:
        """Draw the picture once; every object gets its own ids."""
        self.number = 0
        self.picture = np.random.default_rng().integers(0, 255, (480, 640, 3), dtype=np.uint8)

    @task
    def store(self) -> None:
        """Store one new instance."""
        if self.number % 10 == 0:
            self.study, self.series = new_uid(), new_uid()
        self.number += 1
        instance = build_still(
            self.picture,
            CaptureContext(patient=PATIENT, study_uid=self.study, study_description="Load test"),
            sop_instance_uid=new_uid(),
            series_uid=self.series,
            captured_at=datetime.now(UTC),
            equipment=Equipment(model_name="load test", conversion_type="SYN"),
            instance_number=self.number % 10 or 10,
        )
        head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        self.ask(
            "POST", "/dicomweb/studies", "STOW one still", data=head + instance + f"\r\n--{BOUNDARY}--\r\n".encode(),
            headers={**JSON, "Content-Type": kind},
        )  # fmt: skip


class PollingSite(DoorUser):
    """A hospital: enrols with a code that an administrator made, says hello, then always has one long poll waiting."""

    weight = 2
    wait_time = constant(0)
    username = "admin"

    def on_start(self) -> None:
        """Enrol and say hello."""
        self.cursor, self.token = 0, ""
        site = self.ask("POST", "/api/v1/sites", "site: made by the administrator", json={"name": f"load {new_ulid()}"})
        if site is None:
            raise StopUser
        agent = {"name": "load", "version": "0", "boot_id": new_ulid()}
        body = {"code": site["enrolment_code"], "nonce": new_ulid(), "agent": agent}
        identity = self.client.post("/site/v1/enroll", json=body, name="site: enrol")
        if identity.status_code != 200:
            raise StopUser
        self.identity = identity.json()
        self.token, self.renew_at = self.identity["access_token"], time.monotonic() + self.identity["expires_in_s"] - 60
        hello = {"agent": agent, "devices": [], "sent_at": datetime.now(UTC).isoformat()}
        reply = self.client.post("/site/v1/session", json=hello, headers=self.bearer(), name="site: hello")
        self.cursor = reply.json()["cursor"] if reply.status_code == 200 else 0

    def bearer(self) -> dict[str, str]:
        """Return the site's own credentials."""
        return {"Authorization": f"Bearer {self.token}"}

    @task
    def poll(self) -> None:
        """Wait for commands; 204 is the usual answer. A site that meets trouble waits a little, as the real agent does."""
        if time.monotonic() > self.renew_at:
            body = {"site_id": self.identity["site_id"], "refresh_secret": self.identity["refresh_secret"]}
            reply = self.client.post("/site/v1/token", json=body, name="site: token").json()
            self.token, self.renew_at = reply["access_token"], time.monotonic() + reply["expires_in_s"] - 60
        path = f"/site/v1/commands?wait={POLL_WAIT_S:g}&cursor={self.cursor}"
        answer = self.client.get(path, headers=self.bearer(), name="site: long poll")
        if answer.status_code not in (200, 204):
            time.sleep(1)


JSON = {"Accept": "application/dicom+json"}


def uid(row: dict[str, Any], tag: str) -> str:
    """Return the one value of a UID attribute in a DICOM JSON row."""
    return str(row[tag]["Value"][0])
