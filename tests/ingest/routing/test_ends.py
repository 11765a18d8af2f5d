"""How sending ends otherwise than well: the process stops in the middle, a certificate that nobody vouches for; and TLS that goes well."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from consilium_ingest.routing.tables import job, place
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance, uids_of

from .peers import BASE, opened, rule, settings, stored, to_stow, until

Asked = list[bytes]


@asynccontextmanager
async def server(answer: bytes | None, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, Asked]]:
    """Run a server that reads one request whole and answers so (None: never); yield its port and the requests."""
    asked: Asked = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        asked.append(head + await reader.readexactly(length))
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1], asked


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context with a certificate of its own for 127.0.0.1, and that certificate's file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pacs.example")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    whole, public = folder / "server.pem", folder / "ca.pem"
    certificate = made.sign(key, hashes.SHA256()).public_bytes(pem)
    whole.write_bytes(secret + certificate)
    public.write_bytes(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(whole)
    return context, public


async def test_a_process_that_stops_in_the_middle_frees_what_is_not_confirmed_and_blames_nobody(
    any_platform: Platform,
) -> None:
    file = ct_instance(side=16)
    async with server(None) as (port, asked):
        async with opened(any_platform, settings(to_stow(f"http://127.0.0.1:{port}"))) as (client, _):
            await rule(client, "cloud")
            await stored(client, file)
            await until(lambda: bool(asked), "the request is there")
        rows = await any_platform.database.query(lambda session: session.execute(select(job)).all())
        assert [(row.state, row.lease, row.problem) for row in rows] == [("waiting", "", "")]
        [known] = await any_platform.database.query(lambda session: session.execute(select(place)).all())
        assert (known.failures, known.shut_until, known.problem) == (0, None, "")
    assert file in asked[0]


async def test_tls_is_checked_and_the_token_of_the_file_is_shown_to_who_is_trusted_alone(
    platform: Platform, tmp_path: Path
) -> None:
    context, ca = certified(tmp_path)
    token = tmp_path / "token"
    token.write_text("first\n")
    file = ct_instance(side=16)
    study = uids_of(file)[0]
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", context) as (port, asked):
        url = f"https://127.0.0.1:{port}"
        both = (
            to_stow(url, "strange", token_file=str(token)),
            to_stow(url, "trusted", token_file=str(token), ca_file=str(ca)),
        )
        async with opened(platform, settings(*both)) as (client, _):
            token.write_text("renewed\n")
            for name in ("strange", "trusted"):
                await rule(client, name)
            await stored(client, file)

            async def told() -> bool:
                jobs = (await client.get(f"{BASE}/studies/{study}")).json()["jobs"]
                return {
                    one["destination"]: (one["state"], one["problem"] and one["problem"]["code"]) for one in jobs
                } == {
                    "strange": ("failed", "certificate-refused"),
                    "trusted": ("sent", None),
                }

            await until(told, "one is sent, the other refused")
    [request] = asked
    assert request.startswith(b"POST /dicomweb/studies HTTP/1.1\r\n")
    assert b"authorization: bearer renewed\r\n" in request.lower()


async def test_what_waits_in_quarantine_is_part_of_the_answer(platform: Platform) -> None:
    study = uids_of(ct_instance(side=16))[0]
    held = ct_instance(side=16, StudyInstanceUID=study, PatientBirthDate="20250101")
    async with opened(platform, settings()) as (client, _):
        media = {"Content-Type": "application/dicom"}
        assert (await client.post("/dicomweb/studies", content=held, headers=media)).status_code == 409
        reply = await client.get(f"{BASE}/studies/{study}")
        assert (reply.status_code, reply.json()["held"]) == (404, 1)
        await stored(client, ct_instance(side=16, StudyInstanceUID=study))
        found = (await client.get(f"{BASE}/studies/{study}")).json()
        assert (found["instances"], found["held"], found["rules"], found["jobs"]) == (1, 1, [], [])
        assert (await client.get(f"{BASE}/destinations")).json()["items"] == []
        assert (await client.get(f"{BASE}/studies/not-a-uid")).status_code == 400
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("routing")]


@pytest.mark.parametrize("name", ["missing", "binary"])
async def test_a_token_that_cannot_be_read_is_the_destinations_problem_and_no_request_leaves(
    platform: Platform, tmp_path: Path, name: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    file = ct_instance(side=16)
    async with server(None) as (port, asked):
        to = to_stow(f"http://127.0.0.1:{port}", token_file=str(tmp_path / name))
        async with opened(platform, settings(to)) as (client, _):
            await rule(client, "cloud")
            await stored(client, file)

            async def told() -> bool:
                [found] = (await client.get(f"{BASE}/destinations")).json()["items"]
                return bool(found["problem"]) and found["problem"]["code"] == "token-unreadable"

            await until(told, "it is told")
    assert asked == []
