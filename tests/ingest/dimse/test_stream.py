"""The pure halves: whatever the cuts, the same messages; whatever the bytes, a violation at worst (PS3.8 9.3, PS3.7 6.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode as decode_dataset
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from consilium_ingest.dimse.commands import Answer, Command, Operation, decode_command, encode_answer
from consilium_ingest.dimse.errors import ProtocolViolation
from consilium_ingest.dimse.file_meta import file_meta
from consilium_ingest.dimse.incoming import Context, Incoming
from consilium_ingest.dimse.negotiation import answer_contexts
from consilium_ingest.dimse.pdu import Pdu, decode_request, encode_accept, encode_command
from consilium_ingest.dimse.stream import PduStream
from consilium_ingest.spool import Budget, Spool
from consilium_testkit.instances import CT
from consilium_testkit.light_scu import associate_rq, fragments, pdu, store_rq

EXPLICIT = "1.2.840.10008.1.2.1"


@dataclass
class Seen:
    """What a stream found."""

    pdus: list[tuple[Pdu, bytes]] = field(default_factory=list)
    whole: list[tuple[int, bool, bool, bytes]] = field(default_factory=list)
    _head: tuple[int, bool, bool] = (0, False, False)
    _size: int = 0
    _data: bytes = b""

    def pdu(self, kind: Pdu, body: bytes) -> None:
        self.pdus.append((kind, body))

    def begin(self, context_id: int, size_bytes: int, *, command: bool, last: bool) -> None:
        self._head, self._size, self._data = (context_id, command, last), size_bytes, b""

    def piece(self, data: memoryview) -> None:
        self._data += bytes(data)

    def end(self) -> None:
        assert len(self._data) == self._size
        self.whole.append((*self._head, self._data))


def fed(data: bytes, cuts: list[int]) -> Seen:
    """Return what a stream finds in ``data`` cut at these places."""
    seen = Seen()
    stream = PduStream(seen, 1 << 16, 1 << 12)
    for start, stop in pairwise(sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})):
        assert stream.feed(memoryview(data)[start:stop]) == stop - start
    return seen


@settings(deadline=None, max_examples=80)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.lists(st.integers(0, 5000), max_size=30))
def test_any_cut_of_the_stream_gives_the_same(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(
        pdu(4, b"".join(struct.pack(">IBB", len(one) + 2, 1, number & 3) + one for number, one in enumerate(bodies)))
        + pdu(5, bytes(4))
        for _ in range(2)
    )
    seen = fed(data, cuts)
    expected = [(1, bool(number & 1), bool(number & 2), one) for number, one in enumerate(bodies)]
    assert seen.whole == expected * 2
    assert seen.pdus == [(Pdu.RELEASE_RQ, bytes(4))] * 2


def test_a_held_stream_takes_nothing_until_it_goes_on() -> None:
    seen = Seen()
    stream = PduStream(seen, 1 << 16, 1 << 12)
    data = memoryview(fragments(1, b"abcd", command=True) * 2)
    taken = stream.feed(data[:-1])
    stream.held = True
    assert stream.feed(data[taken:]) == 0
    stream.held = False
    assert stream.feed(data[taken:]) == 1
    assert len(seen.whole) == 2


HOSTILE = st.one_of(
    st.binary(max_size=400),
    st.builds(pdu, st.integers(0, 12), st.binary(max_size=200)),
    st.builds(
        lambda length, head: pdu(4, struct.pack(">I", length) + head), st.integers(0, 300), st.binary(max_size=250)
    ),
    st.builds(
        lambda data, command, size: fragments(1, data, command=command, size=size),
        st.one_of(st.binary(max_size=200), st.just(store_rq(CT, "1.2.3"))),
        st.booleans(),
        st.integers(1, 64),
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400)
@given(st.lists(HOSTILE, max_size=6), st.lists(st.integers(0, 2000), max_size=6))
def test_hostile_bytes_are_a_violation_at_worst_and_leave_nothing(
    tmp_path: Path, pieces: list[bytes], cuts: list[int]
) -> None:
    spool = Spool(tmp_path, Budget(1 << 20), 1 << 16, 1 << 20)
    incoming = Incoming(spool)
    incoming.contexts = {1: Context(CT, EXPLICIT)}

    class Sink(Seen):
        begin = incoming.begin  # type: ignore[assignment]
        piece = incoming.piece  # type: ignore[assignment]

        def end(self) -> None:
            if incoming.end() and incoming.complete is not None:
                incoming.complete.discard()
                incoming.complete = None

    stream = PduStream(Sink(), 1 << 16, 1 << 12)
    data = b"".join(pieces)
    try:
        for start, stop in pairwise(sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})):
            stream.feed(memoryview(data)[start:stop])
            assert incoming.fits
    except ProtocolViolation:
        pass
    incoming.discard()
    assert spool.budget.used_bytes == 0


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 400), st.integers(0, 255), st.binary(max_size=8))
def test_a_changed_request_is_read_or_a_violation(place: int, value: int, tail: bytes) -> None:
    body = bytearray(associate_rq([(CT, [EXPLICIT]), (CT, [EXPLICIT])], "CT", "PACS")[6:])
    body[place % len(body)] = value
    try:
        request = decode_request(bytes(body) + tail)
    except ProtocolViolation:
        return
    encode_accept(request, answer_contexts(request.contexts, ()), 1 << 20)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 255))
def test_a_changed_command_set_is_read_or_a_violation(noise: bytes, place: int, value: int) -> None:
    changed = bytearray(store_rq(CT, "1.2.3"))
    changed[place % len(changed)] = value
    for data in (noise, bytes(changed), bytes(changed) + noise):
        try:
            command = decode_command(data)
        except ProtocolViolation:
            continue
        encode_answer(command, Answer(0xC000, "why " * 40, 0x00080018))


def test_pynetdicom_reads_our_answers_as_we_mean_them() -> None:
    rsp = encode_answer(Command(Operation.STORE, 7, True, CT, "1.2.3"), Answer(0xA900, "not\\so 中", 0x7FE00010))
    found = decode_dataset(BytesIO(rsp), True, True)
    assert (found.CommandField, found.MessageIDBeingRespondedTo, found.Status) == (0x8001, 7, 0xA900)
    assert (found.AffectedSOPClassUID, found.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert (found.ErrorComment, found.OffendingElement) == ("not/so ?", 0x7FE00010)
    assert found.CommandGroupLength == len(rsp) - 12
    message = C_STORE_RSP()
    message.command_set = found
    assert message.message_to_primitive().Status == 0xA900


def test_we_read_pynetdicoms_requests() -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 9, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2.3.4"
    primitive.DataSet = BytesIO(b"12")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    from pynetdicom.dsutils import encode

    command = decode_command(encode(message.command_set, True, True) or b"")
    assert command == Command(Operation.STORE, 9, True, CT, "1.2.3.4")


def test_pynetdicom_reads_our_acceptance() -> None:
    sent = associate_rq([(CT, [EXPLICIT]), ("1.2.3", [EXPLICIT])], "CT", "PACS")
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(sent)
    request = decode_request(sent[6:])
    assert (request.calling, request.called) == ("CT", "PACS")
    assert [context.abstract for context in request.contexts] == [CT, "1.2.3"]
    accepted = A_ASSOCIATE_AC()
    accepted.decode(encode_accept(request, answer_contexts(request.contexts, ()), 1 << 20))
    assert [(one.context_id, one.result) for one in accepted.presentation_context] == [(1, 0), (3, 3)]
    assert accepted.presentation_context[0].transfer_syntax == EXPLICIT
    assert accepted.user_information is not None
    assert accepted.user_information.maximum_length == 1 << 20


@pytest.mark.parametrize("most", [0, 1, 128, 200, 16384])
def test_answers_fit_into_what_the_peer_takes(most: int) -> None:
    command = bytes(range(256)) * 3
    seen = fed(encode_command(5, command, most), [])
    assert b"".join(data for *_, data in seen.whole) == command
    assert [last for _, _, last, _ in seen.whole] == [False] * (len(seen.whole) - 1) + [True]
    if most >= 134:
        assert all(len(data) + 6 <= most for *_, data in seen.whole)


def test_the_file_meta_information_is_what_pydicom_reads() -> None:
    found = dcmread(BytesIO(file_meta(CT, "1.2.3", EXPLICIT)), stop_before_pixels=True)
    meta = found.file_meta
    assert meta.FileMetaInformationGroupLength == len(file_meta(CT, "1.2.3", EXPLICIT)) - 144
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3")
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert "SourceApplicationEntityTitle" not in meta
