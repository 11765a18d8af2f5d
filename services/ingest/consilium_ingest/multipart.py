"""Split a ``multipart/related`` body into parts while it arrives (RFC 2387, PS3.18 8.6), with bounded memory.

Flows in: chunks of the request; flows out: complete ``Part``s in order. A part without its closing boundary is never yielded.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from email.message import Message
from functools import lru_cache
from types import MappingProxyType

from starlette.requests import ClientDisconnect

from consilium_core.errors import ConsiliumError
from consilium_dicom.transport import NOTHING_STATED, Stated
from consilium_ingest.errors import BodyInvalid, MediaTypeUnsupported
from consilium_ingest.splitter import Splitter
from consilium_ingest.spool import Part, Spool
from consilium_platform.http.straight import Body

DICOM, DICOM_JSON = "application/dicom", "application/dicom+json"


@lru_cache(maxsize=64)
def media_type(header: str) -> tuple[str, Mapping[str, str]]:
    """Return (type/subtype, parameters), lower-case names, quotes removed; the parts of a request all say the same."""
    message = Message()
    message["content-type"] = header
    found = message.get_params(failobj=[], header="content-type")
    parameters = {name.lower(): value for name, value in found[1:]}
    return (found[0][0].lower() if found else ""), MappingProxyType(parameters)


def inner_type(parameters: Mapping[str, str]) -> str:
    """Return the media type of a multipart/related body's root part."""
    return parameters.get("type", DICOM).lower()


def boundary_of(parameters: Mapping[str, str]) -> bytes:
    """Return the boundary of a multipart/related request that carries DICOM files or metadata; raise MediaTypeUnsupported."""
    inner = inner_type(parameters)
    if inner not in {DICOM, DICOM_JSON}:
        raise MediaTypeUnsupported(f"Send multipart/related with type {DICOM} or {DICOM_JSON}, not {inner[:60]}.")
    boundary = parameters.get("boundary", "")
    if not 1 <= len(boundary) <= 70:
        raise BodyInvalid("The multipart boundary is missing or too long (RFC 2046 5.1.1).")
    return boundary.encode("latin-1", "replace")


async def split(body: Body, boundary: bytes, spool: Spool) -> AsyncGenerator[Part]:
    """Yield each complete part; the caller discards it. Raise BodyInvalid for a broken, empty or unfinished body."""
    splitter = Splitter(boundary, spool)
    try:
        async with aclosing(_until_gone(body, splitter)) as chunks:
            async for chunk, size in chunks:
                broken: ConsiliumError | None = None
                try:
                    splitter.feed(chunk, size)
                except ConsiliumError as problem:  # what was whole before it, in the same chunk, is given out first
                    broken = problem
                alone = splitter.holds_all == 1
                while splitter.done:
                    part = splitter.done[0]
                    part.alone = alone
                    await part.finish()
                    splitter.done.pop(0)
                    yield part
                if broken is not None:
                    raise broken
                if splitter.current is not None:
                    await splitter.current.drain()
        if not splitter.ended:
            raise BodyInvalid("The multipart body ends before its closing boundary: send it again.")
        if splitter.count == 0:
            raise BodyInvalid("The multipart body has no part.")
    finally:
        for left in [*splitter.done, *([splitter.current] if splitter.current else [])]:
            left.discard()


async def _until_gone(body: Body, splitter: Splitter) -> Body:
    """Yield what the sender gives up to the closing boundary; what stands behind it is nothing (RFC 2046 5.1.1), also if it breaks off."""
    try:
        async with aclosing(body):
            async for chunk in body:
                if not splitter.ended:
                    yield chunk
    except ClientDisconnect as gone:
        if not splitter.ended:
            raise BodyInvalid("The sender went away before the end.") from gone


async def single(body: Body, spool: Spool, stated: Stated = NOTHING_STATED) -> AsyncGenerator[Part]:
    """Yield the whole body as one part, of which ``stated`` is said."""
    part = spool.part("application/dicom")
    part.stated, part.alone = stated, True
    try:
        async with aclosing(body):
            async for chunk, size in body:
                part.write(memoryview(chunk)[:size])
                await part.drain()
        await part.finish()
    except BaseException as problem:
        part.discard()
        if isinstance(problem, ClientDisconnect):
            raise BodyInvalid("The sender went away before the end.") from problem
        raise
    yield part
