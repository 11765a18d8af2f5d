"""Import into a running server over STOW-RS: bounded requests, each file's own answer, waiting where the server is busy.

Owner of its HTTP client (``open_server``). A request has at most 32 files or 16 MiB, or one larger file, streamed from disk. Files whose
instance can't be told beforehand go alone, so that every answer belongs to one file. A busy or absent server is asked again five times.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast, get_args
from uuid import uuid4

import httpx2

from consilium_archive.errors import InstanceHeld, InstanceRejected
from consilium_archive.identity import Person
from consilium_archive.stages import Indexed
from consilium_core.errors import ConsiliumError, Denied, Invalid, Mend, Unauthenticated, Unavailable
from consilium_dicom.catalogue import CATALOGUE
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.header import read_header
from consilium_ingest.importing.outcomes import Answer
from consilium_ingest.importing.sources import Found

_FILES, _BYTES = 32, 16 << 20
_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 5
_BUSY = frozenset({429, 502, 503, 504})
_UIDS_PER_QUERY = 50
Sleep = Callable[[float], Awaitable[None]]


class ServerRefused(Invalid):
    """The server does not take the file; ``code`` is the server's."""

    def __init__(self, detail: str, code: str, mend: str = "caller", **facts: Any) -> None:
        super().__init__(detail, **facts)
        self.code = code  # type: ignore[misc]  # the server names it
        self.mend = cast(Mend, mend if mend in get_args(Mend) else "caller")  # type: ignore[misc]


class ServerAway(Unavailable):
    """The server does not answer."""

    code = "server-away"


@dataclass(frozen=True, slots=True)
class StoreThere:
    """Stores on a server, ``jobs`` requests at once."""

    client: httpx2.AsyncClient
    jobs: int
    sleep: Sleep = asyncio.sleep

    async def store(self, batch: Sequence[Found]) -> list[Answer]:
        """Return one answer per file, in order; raise Unauthenticated, Denied, or ServerAway when there is no going on."""
        uids = await asyncio.to_thread(lambda: [_uid_of(found) for found in batch])
        room = asyncio.Semaphore(self.jobs)
        answers: dict[int, Answer] = {}

        async def one(numbers: list[int]) -> None:
            async with room:
                got = await self._send([(batch[n], uids[n]) for n in numbers])
            answers.update(zip(numbers, got, strict=True))

        try:
            async with asyncio.TaskGroup() as group:
                for numbers in requests(batch, uids):
                    group.create_task(one(numbers), name="import-request")
        except BaseExceptionGroup as broken:
            raise broken.exceptions[0] from broken
        return [answers[number] for number in range(len(batch))]

    async def _send(self, files: list[tuple[Found, str]]) -> list[Answer]:
        boundary = f"consilium-{uuid4().hex}"
        media = f'multipart/related; type="application/dicom"; boundary={boundary}'
        response = await self._ask(
            lambda: self.client.post(
                "/dicomweb/studies", content=_body(files, boundary), headers={"Content-Type": media}, timeout=300
            )
        )
        if response.status_code in (200, 202, 409) and "dicom+json" in response.headers.get("content-type", ""):
            return _answers(response.json(), files)
        refusal = _problem(response)
        return [refusal for _ in files]

    async def _ask(self, call: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """Return the server's answer; what only says that it is busy is asked again."""
        why = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await self.sleep(min(30.0, 2.0**attempt))
            try:
                response = await call()
            except httpx2.TransportError as problem:
                why = type(problem).__name__
                continue
            if response.status_code == 401:
                raise Unauthenticated(
                    "The server does not take the token in CONSILIUM_TOKEN: print a new one with `consilium token` and run "
                    "the same command again; it goes on where it stood."
                )
            if response.status_code == 403:
                raise Denied("The token's role may not store or read studies: ask an administrator.")
            if response.status_code not in _BUSY:
                return response
            why = f"status {response.status_code}"
        raise ServerAway(f"The server does not answer ({why}): run the same command again, it goes on where it stood.")

    # -- what a preview asks: consilium_ingest.importing.preview.Known

    async def instances(self, uids: Sequence[str]) -> Mapping[str, str]:
        """Return which instances are there; QIDO-RS does not say their SHA-256."""
        found = await self._search("instances", "SOPInstanceUID", uids)
        return {_first(item, "00080018"): "" for item in found}

    async def patients(self, study_uids: Sequence[str]) -> Mapping[str, Person]:
        """Return whose the studies are that are there."""
        found = await self._search("studies", "StudyInstanceUID", study_uids)
        return {_first(item, "0020000D"): _person(item) for item in found}

    async def _search(self, level: str, key: str, uids: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for at in range(0, len(uids), _UIDS_PER_QUERY):
            wanted = {key: ",".join(uids[at : at + _UIDS_PER_QUERY]), "limit": str(_UIDS_PER_QUERY)}
            response = await self._ask(partial(self.client.get, f"/dicomweb/{level}", params=wanted, timeout=60))
            if response.status_code not in (200, 204):
                raise _problem(response)
            found += response.json() if response.status_code == 200 else []
        return found


@asynccontextmanager
async def open_server(url: str, token: str, jobs: int) -> AsyncIterator[StoreThere]:
    """Yield the sink of a server."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=url.rstrip("/"), headers=headers, timeout=60) as client:
        yield StoreThere(client, jobs)


def requests(batch: Sequence[Found], uids: Sequence[str]) -> list[list[int]]:
    """Return which files go together: bounded, and no instance twice in one request."""
    made: list[list[int]] = []
    current: list[int] = []
    size, held = 0, set[str]()
    for number, (found, uid) in enumerate(zip(batch, uids, strict=True)):
        if not uid:
            made.append([number])
            continue
        if current and (uid in held or len(current) == _FILES or size + found.size_bytes > _BYTES):
            made.append(current)
            current, size, held = [], 0, set()
        current.append(number)
        size += found.size_bytes
        held.add(uid)
    return [*made, current] if current else made


def _uid_of(found: Found) -> str:
    """Return the instance's UID as the server will read it, "" when it can't be told."""
    try:
        with found.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            try:
                return read_header(view).sop_instance_uid
            finally:
                view.release()
    except (OSError, ValueError, DicomInvalid):  # ValueError: an empty file can't be mapped
        return ""


async def _body(files: list[tuple[Found, str]], boundary: str) -> AsyncIterator[bytes]:
    for found, _ in files:
        length = f"Content-Length: {found.size_bytes}\r\n"
        yield f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n{length}\r\n".encode()
        with found.path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                yield chunk
    yield f"\r\n--{boundary}--\r\n".encode()


def _answers(body: dict[str, Any], files: list[tuple[Found, str]]) -> list[Answer]:
    """Return each file's answer from the Store Instances Response Module; one file alone needs no UID."""
    stored, failed = _by_uid(body, ("00081199",), files), _by_uid(body, ("00081198", "0008119A"), files)
    found: list[Answer] = []
    for one, uid in files:
        if uid in stored:
            found.append(_stored(stored[uid], one))
        elif uid in failed:
            found.append(_failed(failed[uid]))
        else:
            found.append(Unavailable("The server's answer does not name this file: import again."))
    return found


def _by_uid(body: dict[str, Any], tags: Sequence[str], files: list[tuple[Found, str]]) -> dict[str, dict[str, Any]]:
    items = [item for tag in tags for item in body.get(tag, {}).get("Value", [])]
    if len(files) == 1:
        return {files[0][1]: items[0]} if items else {}
    return {_first(item, "00081155"): item for item in items}


def _stored(item: dict[str, Any], found: Found) -> Indexed:
    url = _first(item, "00081190").split("/")
    study, series = (url[-5], url[-3]) if len(url) > 6 else ("", "")
    return Indexed(
        study,
        series,
        _first(item, "00081155"),
        _first(item, "00081150"),
        "",
        "",
        found.size_bytes,
        datetime.now(UTC),
        True,
    )


def _failed(item: dict[str, Any]) -> ConsiliumError:
    codes = [str(code) for code in item.get("00091002", {}).get("Value", [])]
    detail = _first(item, "00091001") or _first(item, "00000902") or "The server refused the file."
    reason = item.get("00081197", {}).get("Value", [0x0110])[0]
    told = [_told(one) for one in item.get("00091003", {}).get("Value", [])]
    findings = [one | {"level": CATALOGUE[one["code"]].level} for one in told if one["code"] in CATALOGUE]
    known = {"sop_instance_uid": _first(item, "00081155")}
    if "instance-held" in codes:
        return InstanceHeld(detail, "", findings, **known)
    if findings:
        return InstanceRejected(detail, reason, findings, **known)
    mend = told[0]["mend"] if told else "caller"
    return ServerRefused(detail, codes[0] if codes else "server-refused", mend, **known)


def _told(one: dict[str, Any]) -> dict[str, str]:
    """Return a finding as the server has told it: code, both languages, who mends it, element."""
    names = {
        "code": "00091004",
        "text_en": "00091005",
        "text_zh": "00091006",
        "mend": "00091007",
        "tag_path": "00091008",
    }
    return {name: _first(one, tag) for name, tag in names.items()}


def _problem(response: httpx2.Response) -> ConsiliumError:
    """Return the refusal of a whole request: problem+json, or a status of something between us and the server."""
    try:
        said = response.json()
    except ValueError:
        said = {}
    if not isinstance(said, dict) or "code" not in said:
        return ServerRefused(f"The server answered {response.status_code}.", "server-refused", "operator")
    parts = said.get("parts") or [{}]
    if parts[0].get("findings"):
        return InstanceRejected(str(said["detail"]), int(parts[0].get("failure_reason", 0xC000)), parts[0]["findings"])
    return ServerRefused(str(said.get("detail", "")), str(said["code"]), str(said.get("mend", "caller")))


def _person(item: dict[str, Any]) -> Person:
    groups = (item.get("00100010", {}).get("Value") or [{}])[0] or {}
    name = "=".join(str(groups.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    patient_id, issuer, birth_date, sex = (
        _first(item, tag) for tag in ("00100020", "00100021", "00100030", "00100040")
    )
    return Person(patient_id, issuer, name, birth_date, sex)


def _first(item: dict[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value", [""])
    return str(values[0]) if values else ""
