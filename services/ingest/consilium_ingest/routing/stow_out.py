"""Send instances by STOW-RS (PS3.18 10.5): one ``multipart/related`` request per batch, its body read while it is sent.

Flows in: a batch; flows out: which of its instances the answer names as stored, and a word for each of the others. What the server says
of the whole request (401, 404, 503 ...) is the destination's failure, not an instance's.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from consilium_archive.reader import Place
from consilium_core.errors import ConsiliumError
from consilium_core.ids import new_ulid
from consilium_ingest.routing.batch import Batch, Outcomes
from consilium_ingest.routing.errors import SendingFailed
from consilium_ingest.routing.originals import STORE_OUT, Originals, note
from consilium_ingest.routing.settings import RoutingSettings, StowDestination

_MOST_ANSWER_BYTES = 8 << 20
_MOST_TOKEN_BYTES = 64 << 10
_STORED, _FAILED, _REASON, _UID = "00081199", "00081198", "00081197", "00081155"


class StowSender:
    """Sends batches to one server; open with ``open_stow``."""

    def __init__(self, client: httpx2.AsyncClient, to: StowDestination, originals: Originals) -> None:
        self._client = client
        self._to = to
        self._originals = originals

    async def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Send the batch and note what came of it; raise SendingFailed."""
        places = await self._originals.places(batch, outcomes)
        if not places:
            return
        boundary = f"consilium-{new_ulid()}"
        body = _Body(self._originals, places, outcomes, boundary)
        headers = await self._headers(boundary) | {"Content-Length": str(body.size_bytes)}
        began, ours_s = time.monotonic(), outcomes.ours_s
        try:
            request = self._client.build_request(
                "POST", f"{self._to.url}/studies", content=body.pieces(), headers=headers
            )
            response = await self._client.send(request, stream=True)
            try:
                said = await _read(response)
            finally:
                await response.aclose()
        except ConsiliumError as problem:
            if body.reading is None or isinstance(problem, SendingFailed):
                raise
            if note(outcomes, body.reading.sop_instance_uid, problem) == STORE_OUT:
                outcomes.unread(batch, STORE_OUT)
            outcomes.stopped = True  # the request, by one file: the others go on without it
            return
        except httpx2.TimeoutException as problem:
            raise SendingFailed("timeout") from problem
        except httpx2.ConnectError as problem:
            raise SendingFailed("certificate-refused" if _untrusted(problem) else "unreachable") from problem
        except httpx2.HTTPError as problem:
            raise SendingFailed("broken-off") from problem
        media, retry_after = response.headers.get("content-type", ""), response.headers.get("retry-after", "")
        judge(response.status_code, said, places, outcomes, media=media, retry_after=retry_after)
        outcomes.seconds = max(time.monotonic() - began - (outcomes.ours_s - ours_s), 1e-6)

    async def _headers(self, boundary: str) -> dict[str, str]:
        media = f'multipart/related; type="application/dicom"; boundary={boundary}'
        headers = {"Content-Type": media, "Accept": "application/dicom+json"}
        if self._to.token_file is not None:
            try:
                written = await asyncio.to_thread(self._to.token_file.read_bytes)
                token = written[:_MOST_TOKEN_BYTES].decode("ascii").strip()
            except (OSError, UnicodeDecodeError) as problem:
                raise SendingFailed("token-unreadable") from problem
            headers["Authorization"] = f"Bearer {token}"
        return headers


class _Body:
    """The request's body: its length is known before it is read. ``reading``: the instance whose bytes are being read."""

    def __init__(self, originals: Originals, places: Sequence[Place], outcomes: Outcomes, boundary: str) -> None:
        self._originals = originals
        self._places = places
        self._outcomes = outcomes
        self._head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._end = f"--{boundary}--\r\n".encode()
        self.reading: Place | None = None
        self.size_bytes = sum(len(self._head) + place.size_bytes + 2 for place in places) + len(self._end)

    async def pieces(self) -> AsyncGenerator[bytes]:
        for place in self._places:
            yield self._head
            self.reading = place
            async for stretch in self._originals.stretches(place, self._outcomes):
                yield stretch
            self.reading = None
            yield b"\r\n"
        yield self._end


def _untrusted(problem: BaseException | None) -> bool:
    """Tell whether a connection failed because of the server's certificate."""
    while problem is not None:
        if isinstance(problem, ssl.SSLCertVerificationError):
            return True
        problem = problem.__cause__ or problem.__context__
    return False


async def _read(response: httpx2.Response) -> bytes:
    """Return the answer's body; raise SendingFailed when it is larger than any answer."""
    said = bytearray()
    async for piece in response.aiter_bytes():
        said += piece
        if len(said) > _MOST_ANSWER_BYTES:
            raise SendingFailed("destination-failed")
    return bytes(said)


def judge(
    status: int, said: bytes, places: Sequence[Place], outcomes: Outcomes, *, media: str = "", retry_after: str = ""
) -> None:
    """Note what an answer says of each instance (PS3.18 10.5.3, table I.2-2); raise SendingFailed for one of the whole request."""
    if status in (200, 202, 409):
        stored, failed = _listed(said)
        if status == 200 and not stored and not failed:
            if not _silent(said, media):
                raise SendingFailed("not-dicomweb")
            stored = {place.sop_instance_uid for place in places}
        for place in places:
            uid = place.sop_instance_uid
            if uid in stored:
                outcomes.sent.add(uid)
                outcomes.sent_bytes += place.size_bytes
            else:
                outcomes.problems[uid] = reason_word(failed[uid]) if uid in failed else "unanswered"
    elif status in (400, 413, 415, 422):  # of several perhaps one alone: they are tried in smaller batches
        alone = len(places) == 1
        word = "too-large" if status == 413 and alone else "instance-refused"
        outcomes.problems |= dict.fromkeys((place.sop_instance_uid for place in places), word)
    elif status in (401, 403):
        raise SendingFailed("access-refused")
    elif status in (429, 503):
        raise SendingFailed("busy", float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0)
    elif status >= 500:
        raise SendingFailed("destination-failed")
    else:
        raise SendingFailed("address-refused")


def reason_word(reason: int) -> str:
    """Return the word for a Failure Reason or a C-STORE status (PS3.4 B.2.3, PS3.7 annex C)."""
    if reason == 0x0122:
        return "class-not-supported"
    if reason == 0x0111:
        return "other-content"
    if 0xA700 <= reason <= 0xA7FF:
        return "no-room"
    if 0xA900 <= reason <= 0xA9FF or 0xC000 <= reason <= 0xCFFF:
        return "not-conformant"
    return "instance-refused"


def _listed(said: bytes) -> tuple[set[str], dict[str, int]]:
    """Return the instances that an answer names as stored, and as failed with their reasons; what is no DICOM JSON names none."""
    try:
        found = json.loads(said) if said else {}
    except ValueError:
        return set(), {}
    found = found[0] if isinstance(found, list) and found else found
    if not isinstance(found, dict):
        return set(), {}
    stored = {uid for item in _items(found, _STORED) if isinstance(uid := _first(item, _UID), str)}
    failed: dict[str, int] = {}
    for item in _items(found, _FAILED):
        uid, reason = _first(item, _UID), _first(item, _REASON)
        if isinstance(uid, str):
            failed[uid] = reason if isinstance(reason, int) else 0
    return stored, failed


def _silent(said: bytes, media: str) -> bool:
    """Tell whether an answer that names no instance says that all are stored: nothing, or DICOM JSON. A sign-in page does not."""
    if said.strip() in (b"", b"{}", b"[]"):
        return True
    if media.partition(";")[0].strip().lower() != "application/dicom+json":
        return False
    try:
        json.loads(said)
    except ValueError:
        return False
    return True


def _items(found: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    element = found.get(tag)
    items = element.get("Value") if isinstance(element, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _first(item: dict[str, Any], tag: str) -> Any:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


@asynccontextmanager
async def open_stow(to: StowDestination, settings: RoutingSettings, originals: Originals) -> AsyncIterator[StowSender]:
    """Yield a sender with a client of its own: no redirects, no proxies of the environment, its own trust where a CA is named."""
    verify: ssl.SSLContext | bool = True
    if to.ca_file is not None:
        verify = await asyncio.to_thread(ssl.create_default_context, cafile=str(to.ca_file))
    timeout = httpx2.Timeout(
        connect=settings.connect_s, read=settings.answer_s, write=settings.answer_s, pool=settings.connect_s
    )
    limits = httpx2.Limits(max_connections=to.workers, max_keepalive_connections=to.workers, keepalive_expiry=30)
    async with httpx2.AsyncClient(
        verify=verify, timeout=timeout, limits=limits, trust_env=False, follow_redirects=False
    ) as client:
        yield StowSender(client, to, originals)
