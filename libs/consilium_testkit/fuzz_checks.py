"""What must hold of any bytes: an answer or an error of our own tree, well-formed findings, and never short pixels accepted.

``check`` raises ``Violation``, or whatever exception escaped. The judge of short pixels is pydicom, not our own reader.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import pydicom
from pydicom.encaps import generate_frames

from consilium_core.errors import ConsiliumError
from consilium_dicom.catalogue import CATALOGUE
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.frames import FrameIndex, frame_bits, frame_bytes, index_frames
from consilium_dicom.header import Header, header_of
from consilium_dicom.json_model import to_json_model
from consilium_dicom.json_text import to_json_text
from consilium_dicom.likeness import Kinds
from consilium_dicom.luts import read_tables
from consilium_dicom.policy import Verdict
from consilium_dicom.render import render
from consilium_dicom.scan import EXPLICIT_LE, scan
from consilium_dicom.transcode import transcode
from consilium_dicom.uids import transfer_syntax
from consilium_dicom.validate import ValidationRun, validate
from consilium_ingest.dimse.commands import decode_command
from consilium_ingest.dimse.errors import ProtocolViolation
from consilium_ingest.dimse.pdu import Pdu, decode_request
from consilium_ingest.dimse.stream import PduStream
from consilium_ingest.multipart import split
from consilium_ingest.spool import Budget, Spool
from consilium_platform.http.straight import Body
from consilium_testkit.instances import CT, multipart
from consilium_testkit.light_scu import associate_rq, fragments, store_rq

_TAG_PATH = re.compile(r"^(\([0-9A-F]{4},[0-9A-F]{4}\)[^\n]*)?$")
_TARGETS = (EXPLICIT_LE, "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5")
_REQUEST = associate_rq([(CT, [EXPLICIT_LE]), (CT, ["1.2.840.10008.1.2"])], "SENDER", "ARCHIVE")
_STORE = store_rq(CT, "1.2.3.4")
_VALIDATION_S = 1.0
_KINDS = Kinds()
_HALVED = {"YBR_FULL_422", "YBR_PARTIAL_422"}
_NATIVE = {"1.2.840.10008.1.2", EXPLICIT_LE, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}


class Violation(Exception):
    """Something that must hold does not."""


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)


def check(data: bytes, chance: random.Random, spool_folder: Path) -> str:
    """Put one file through everything; return the verdict."""
    began = time.process_time()
    run = validate(data)
    spent_s = time.process_time() - began
    _must(spent_s <= _VALIDATION_S + len(data) / (4 << 20), f"validation takes {spent_s:.1f} s of CPU")
    _findings(run)
    if run.verdict != "reject":
        _pixels_are_there(data)
    _json(data, accepted=run.verdict != "reject")
    _like(data, run)
    _frames(data, run, chance)
    _doors(data, chance, spool_folder)
    return run.verdict


def _findings(run: ValidationRun) -> None:
    _must(run.verdict in get_args(Verdict), f"verdict {run.verdict}")
    _must(
        (run.verdict == "reject") == bool(run.fatal) == (run.failure_reason != 0), "verdict, findings and reason differ"
    )
    for found in run.findings:
        _must(found.code in CATALOGUE, f"code {found.code}")
        _must(bool(found.text_en and found.text_zh), f"{found.code} has no text in both languages")
        _must("{" not in found.text_en + found.text_zh or "{" in repr(found.text_en), f"{found.code} is not filled in")
        _must(bool(_TAG_PATH.match(found.tag_path)), f"{found.code} names {found.tag_path!r}")
        json.dumps([found.code, found.tag_path, found.text_en, found.text_zh, found.mend]).encode()


def _pixels_are_there(data: bytes) -> None:
    """Compare an accepted file with pydicom's reading of it; what pydicom can't read is not judged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = pydicom.dcmread(BytesIO(data), force=True)
            pixels = found.get("PixelData")
            if pixels is None:
                return
            syntax = str(found.file_meta.get("TransferSyntaxUID", "") or "1.2.840.10008.1.2")
            frames = int(found.get("NumberOfFrames") or 1)
            samples = int(found.SamplesPerPixel)
            samples = 2 if samples == 3 and found.PhotometricInterpretation in _HALVED else samples
            bits = int(found.Rows) * int(found.Columns) * samples * int(found.BitsAllocated) * frames
            wanted = (bits + 7) // 8
        except Exception:
            return
        if syntax in _NATIVE:
            _must(len(pixels) >= wanted, f"accepted {len(pixels)} bytes of pixels where {wanted} are needed")
            return
        known = transfer_syntax(syntax)
        if known is None or known.codec == "video" or not found["PixelData"].is_undefined_length:
            return
        try:
            there = sum(1 for _ in generate_frames(pixels, number_of_frames=frames))
        except Exception:
            return
        _must(there >= frames, f"accepted {there} frames where there should be {frames}")


def _json(data: bytes, *, accepted: bool) -> None:
    try:
        source = scan(data)
        header = header_of(source)
        model = to_json_model(data, header, "bulk", source=source)
        text = to_json_text(source, header, "bulk")
    except DicomInvalid:
        return
    plain = json.loads(json.dumps(model, allow_nan=False))
    text.encode()
    _must(not accepted or json.loads(text) == plain, "the two writers of DICOM JSON differ")


def _like(data: bytes, run: ValidationRun) -> None:
    """Compare what a file's likeness to an earlier one tells of it with what reading it tells."""
    like = _KINDS.find(data)
    if like is None:
        if run.verdict != "reject" and run.source and run.header and not any(one.level == "V1" for one in run.findings):
            _KINDS.learn(run.source, run.header)
        return
    source = scan(data)
    header = header_of(source)
    _must(replace(like.source, buffer=b"") == replace(source, buffer=b""), "a like file's elements lie elsewhere")
    _must(
        repr(like.header) == repr(header), "a like file's header differs"
    )  # a number may be nan, which equals nothing
    _must(like.json_text("bulk") == to_json_text(source, header, "bulk"), "a like file's JSON differs")
    again = validate(data, like.header, source=like.source)
    _must(again.findings == run.findings, "a like file is judged otherwise")


def _frames(data: bytes, run: ValidationRun, chance: random.Random) -> None:
    try:
        source = scan(data)
        header = header_of(source)
        index = index_frames(data, header)
        FrameIndex.from_json(json.loads(json.dumps(index.to_json())))
        number = chance.randrange(index.count)
        frame = frame_bytes(data, index, number, header)
    except DicomInvalid:
        _must(
            run.verdict == "reject" or not run.header or not run.header.has_pixels,
            "accepted, but its frames can't be found",
        )
        return
    if not header.encapsulated:
        _must(len(frame) >= frame_bits(header) // 8, "a native frame is shorter than it must be")
    _drawn(data, header, frame, number)
    target = chance.choice(_TARGETS)
    try:
        other = transcode(data, target)
    except ConsiliumError:
        return
    again = validate(other)
    _must(
        run.verdict == "reject" or again.verdict != "reject",
        f"as {target} it is refused: {[f.code for f in again.fatal]}",
    )


def _drawn(data: bytes, header: Header, frame: bytes, number: int) -> None:
    try:
        render(frame, header, viewport=(64, 64), tables=read_tables(data), frame_number=number)
    except DicomInvalid:
        return


def _doors(data: bytes, chance: random.Random, folder: Path) -> None:
    """Send the file through the multipart splitter and the upper layer, whole and damaged."""
    body, _ = multipart([data, data[: chance.randrange(64)]])
    parts = asyncio.run(_split(body, chance, folder))
    _must(parts is not None and parts[0] == data, "a part of a multipart body is not what was sent")
    damaged = _damaged(body if len(body) < 20_000 else body[:2000] + body[-2000:], chance)
    asyncio.run(_split(damaged, chance, folder))
    stream = _REQUEST + fragments(1, _STORE, command=True) + fragments(1, data[:5000], command=False)
    for sent in (stream, _damaged(stream, chance)):
        _upper_layer(sent, chance)


def _damaged(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(out) + 1)
        out[at : at + chance.choice((0, 1, 4))] = chance.choice(
            (b"\r\n", b"--", b"\0", b"\xff\xff\xff\xff", chance.randbytes(3))
        )
    return bytes(out)


def _cut(data: bytes, chance: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        step = chance.choice((1, 7, 64, 4096, 1 << 20))
        yield data[at : at + step]
        at += step


async def _split(body: bytes, chance: random.Random, folder: Path) -> list[bytes] | None:
    async def chunks() -> Body:
        for piece in _cut(body, chance):
            yield piece, len(piece)

    spool = Spool(folder, Budget(1 << 24), 1 << 20, 1 << 24)
    out: list[bytes] = []
    try:
        async for part in split(chunks(), b"consilium-test", spool):
            out.append(bytes(part.memory) if part.path is None else part.path.read_bytes())
            part.discard()
    except ConsiliumError:
        out = []
    _must(spool.budget.used_bytes == 0, "memory of the spool is not given back")
    return out or None


class _Sink:
    """Takes what the stream finds."""

    def __init__(self) -> None:
        self._command = b""
        self._is_command = False

    def pdu(self, kind: Pdu, body: bytes) -> None:
        if kind is Pdu.ASSOCIATE_RQ:
            decode_request(body)

    def begin(self, context_id: int, size_bytes: int, *, command: bool, last: bool) -> None:
        self._is_command, self._command = command, b""

    def piece(self, data: memoryview) -> None:
        if self._is_command:
            self._command += bytes(data)

    def end(self) -> None:
        if self._is_command:
            decode_command(self._command)


def _upper_layer(data: bytes, chance: random.Random) -> None:
    stream: Any = PduStream(_Sink(), 1 << 20, 256 << 10)
    try:
        for piece in _cut(data, chance):
            stream.feed(memoryview(piece))
    except ProtocolViolation:
        return
