"""STOW-RS of metadata and bulk data: DICOM JSON and the values it names become whole objects (PS3.18 8.7.3.2, 10.5.1).

Flows in: the parts of a ``multipart/related; type="application/dicom+json"`` request; flows out: one part per instance, a Part 10
object like any other sender's, or the refusal that it is answered with. Bulk data waits in the spool (memory, then disk) until the
request has ended, because a value may come before or after the metadata that names it; the whole request may be as large as one object.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from urllib.parse import urljoin

from consilium_core.errors import ConsiliumError
from consilium_dicom.errors import DicomInvalid, UnsuitableJpeg
from consilium_dicom.jpeg_stream import jpeg_shape
from consilium_dicom.json_read import (
    MAX_METADATA_BYTES,
    BulkPiece,
    BulkValue,
    JsonObject,
    MetadataInvalid,
    bulk_uris,
    data_set_pieces,
    parse_metadata,
    text_of,
)
from consilium_dicom.scan import EXPLICIT_LE
from consilium_dicom.uids import is_valid_uid, transfer_syntax
from consilium_ingest.dimse.file_meta import file_meta
from consilium_ingest.errors import BodyInvalid, ObjectTooLarge
from consilium_ingest.multipart import DICOM, DICOM_JSON, media_type
from consilium_ingest.spool import Part, Spool

_COPY_BYTES = 1 << 20
_HEAD_BYTES = 64 << 10
_OCTETS = "application/octet-stream"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFAULTS = {
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/jxl": "1.2.840.10008.1.2.4.110",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "video/mpeg2": "1.2.840.10008.1.2.4.100",
    "video/mp4": "1.2.840.10008.1.2.4.102",
}
"""What a media type without a transfer-syntax parameter means (table 8.7.3-5); a JPEG's own frame header decides for image/jpeg."""
_JPEG_PROCESSES = {0: "1.2.840.10008.1.2.4.50", 1: "1.2.840.10008.1.2.4.51", 3: "1.2.840.10008.1.2.4.70"}


class TransferSyntaxUnclear(DicomInvalid):
    """The media type of the pixel data does not say, or not consistently, how it is encoded."""

    code = "transfer-syntax-unclear"


@dataclass
class _Request:
    """Everything that a request held; whoever opens it discards it."""

    base_url: str
    instances: list[JsonObject] = field(default_factory=list)
    values: dict[str, list[Part]] = field(default_factory=lambda: defaultdict(list))
    kept: list[Part] = field(default_factory=list)

    def address(self, uri: str) -> str:
        """Return a BulkDataURI or Content-Location as they are compared: absolute, or a Content-ID."""
        return uri if uri.lower().startswith("cid:") else urljoin(self.base_url, uri)

    def discard(self) -> None:
        for part in self.kept:
            part.discard()


async def rebuilt(parts: AsyncGenerator[Part], spool: Spool, base_url: str) -> AsyncGenerator[Part]:
    """Yield an object per instance of the metadata, in order; the caller discards it.

    Raises BodyInvalid for a request without metadata or with bulk data that no instance names, ObjectTooLarge for one beyond its bounds.
    """
    request = _Request(base_url)
    try:
        async with aclosing(parts):
            await _gather(request, parts, spool.max_bytes)
        left = Counter(request.address(uri) for one in request.instances for *_, uri in bulk_uris(one))
        for address in request.values:
            if address not in left:
                raise BodyInvalid(f"No instance of the metadata names the bulk data part {address[:200]}.")
        for number, instance in enumerate(request.instances):
            yield await _object(request, instance, spool)
            request.instances[number] = {}
            for *_, uri in bulk_uris(instance):
                left[request.address(uri)] -= 1
                if not left[request.address(uri)]:
                    for part in request.values.get(request.address(uri), []):
                        part.discard()
    finally:
        request.discard()


async def _gather(request: _Request, parts: AsyncIterator[Part], max_bytes: int) -> None:
    """Read the request to its end: metadata is parsed, bulk data waits."""
    size = metadata_size = 0
    async for part in parts:
        request.kept.append(part)
        size += part.size
        if size > max_bytes:
            raise ObjectTooLarge(f"A request of metadata and bulk data may have at most {max_bytes} bytes.")
        if part.stated.size_bytes is not None and part.stated.size_bytes != part.size:
            raise BodyInvalid("A part does not have the length that its Content-Length states.")
        kind = media_type(part.content_type)[0]
        if kind == DICOM_JSON:
            metadata_size += part.size
            if metadata_size > MAX_METADATA_BYTES:
                raise ObjectTooLarge(f"The metadata of a request may have at most {MAX_METADATA_BYTES} bytes.")
            text = await asyncio.to_thread(_whole, part)
            try:
                request.instances += await asyncio.to_thread(parse_metadata, text)
            except DicomInvalid as problem:
                raise BodyInvalid(problem.detail) from problem
            part.discard()
        elif kind in {"", DICOM}:
            raise BodyInvalid(f"A request of {DICOM_JSON} holds metadata and bulk data, not DICOM files.")
        else:
            request.values[_name_of(request, part)].append(part)
    if not request.instances:
        raise BodyInvalid(f"The request has no part of {DICOM_JSON}.")


def _name_of(request: _Request, part: Part) -> str:
    if part.content_location:
        return request.address(part.content_location)
    if part.content_id:
        return f"cid:{part.content_id.strip('<>')}"
    raise BodyInvalid("A bulk data part has neither Content-Location nor Content-ID: no metadata can name it.")


async def _object(request: _Request, instance: JsonObject, spool: Spool) -> Part:
    """Return the instance as a Part 10 object, or the part that carries why it is none."""
    sop_class, sop_instance = text_of(instance, 0x00080016), text_of(instance, 0x00080018)
    known = {"sop_class_uid": sop_class, "sop_instance_uid": sop_instance}
    made = spool.part(DICOM)
    try:
        _check_identity(sop_class, sop_instance)
        syntax, values = await asyncio.to_thread(_values, request, instance)
        pieces = await asyncio.to_thread(data_set_pieces, instance, lambda uri: values.get(request.address(uri)))
        made.write(file_meta(sop_class, sop_instance, syntax))
        for piece in pieces:
            if isinstance(piece, BulkPiece):
                await _copy(request.values[request.address(piece.uri)][piece.number], made)
            else:
                made.write(piece)
                await made.drain()
        await made.finish()
    except ConsiliumError as refusal:
        made.discard()
        refusal.facts |= {name: uid for name, uid in known.items() if is_valid_uid(uid)}
        made.refusal = refusal
    except BaseException:
        made.discard()
        raise
    return made


def _check_identity(sop_class: str, sop_instance: str) -> None:
    if not is_valid_uid(sop_class) or not is_valid_uid(sop_instance):
        raise MetadataInvalid("An instance needs a SOP Class UID (0008,0016) and a SOP Instance UID (0008,0018).")


def _values(request: _Request, instance: JsonObject) -> tuple[str, dict[str, BulkValue]]:
    """Return the object's transfer syntax and what each of its bulk values is."""
    syntax = EXPLICIT_LE
    found: dict[str, BulkValue] = {}
    for depth, key, uri in bulk_uris(instance):
        address = request.address(uri)
        parts = request.values.get(address)
        if parts is None:
            continue  # the writer names the element
        named = _one_syntax(parts) if key == "7FE00010" else EXPLICIT_LE
        if named != EXPLICIT_LE and depth:
            raise TransferSyntaxUnclear("Only the instance's own pixel data may be compressed.")
        if key == "7FE00010" and not depth:
            syntax = named
        found[address] = BulkValue(tuple(part.size for part in parts), encapsulated=named != EXPLICIT_LE)
    return syntax, found


def _one_syntax(parts: list[Part]) -> str:
    syntaxes = {_syntax_of(part) for part in parts}
    if len(syntaxes) > 1:
        raise TransferSyntaxUnclear("The frames of the pixel data are not all of one transfer syntax.")
    return syntaxes.pop()


def _syntax_of(part: Part) -> str:
    """Return the transfer syntax of a bulk data part; Explicit VR Little Endian stands for plain bytes."""
    kind, parameters = media_type(part.content_type)
    named = parameters.get("transfer-syntax", "").strip()
    if named == _BIG_ENDIAN:
        raise TransferSyntaxUnclear("Uncompressed bulk data is little endian (PS3.18 8.7.3.3).")
    if named:
        known = transfer_syntax(named)
        if not is_valid_uid(named):
            raise TransferSyntaxUnclear(f"transfer-syntax={named[:64]!r} is no UID.")
        return EXPLICIT_LE if known is not None and not known.encapsulated else named
    if kind != "image/jpeg":
        return _DEFAULTS.get(kind, EXPLICIT_LE)
    try:
        process = jpeg_shape(_whole(part, _HEAD_BYTES)).process
    except UnsuitableJpeg as problem:
        raise TransferSyntaxUnclear(f"The image/jpeg part can't be read: {problem.detail}.") from problem
    if process not in _JPEG_PROCESSES:
        raise TransferSyntaxUnclear(f"No transfer syntax is known for a JPEG of process SOF{process}: name it.")
    return _JPEG_PROCESSES[process]


def _whole(part: Part, at_most: int = -1) -> bytes:
    if part.path is None:
        return bytes(part.memory if at_most < 0 else part.memory[:at_most])
    with part.path.open("rb") as file:
        return file.read(at_most)


async def _copy(part: Part, made: Part) -> None:
    """Write a bulk data part behind what is there of the object."""
    if part.path is None:
        made.write(memoryview(part.memory))
        await made.drain()
        return
    with part.path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _COPY_BYTES):
            made.write(chunk)
            await made.drain()
