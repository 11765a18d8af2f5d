"""Small durable files of the state folder: identity (0600), the enrolment's nonce, the local policy."""

from __future__ import annotations

import fcntl
import os
import secrets
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ValidationError

from consilium_site.domain.identity import Identity
from consilium_site.domain.orders import Policy
from consilium_site.errors import StateInUse, StateUnreadable


def write_durably(path: Path, body: bytes) -> None:
    """Replace ``path`` atomically: write beside it with mode 0600, fsync, rename, fsync the folder."""
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and unlinks in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _PendingEnrolment(BaseModel):
    code_sha256: str
    nonce: str


class StateFolder:
    """The agent's folder; made with mode 0700."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; raises StateInUse when another agent has it."""
        with (self.path / "agent.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateInUse("Another agent already runs on this state folder.") from None
            yield

    def in_use(self) -> bool:
        """Say whether an agent runs on the folder."""
        try:
            with self.lock():
                return False
        except StateInUse:
            return True

    def identity(self) -> Identity | None:
        """Return the identity, None before enrolment; raises StateUnreadable."""
        file = self.path / "identity.json"
        if not file.is_file():
            return None
        try:
            return Identity.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise StateUnreadable("identity.json is damaged: remove it and enrol again.") from error

    def save_identity(self, identity: Identity) -> None:
        """Keep the identity (SP-11)."""
        write_durably(self.path / "identity.json", identity.model_dump_json().encode())

    def enrolment_nonce(self, code_sha256: str) -> str:
        """Return the nonce for this code, the same one until the enrolment is through (SP-10)."""
        file = self.path / "enrolment.json"
        if file.is_file():
            try:
                pending = _PendingEnrolment.model_validate_json(file.read_bytes())
            except ValidationError:
                pending = None
            if pending is not None and pending.code_sha256 == code_sha256:
                return pending.nonce
        fresh = _PendingEnrolment(code_sha256=code_sha256, nonce=secrets.token_hex(16))
        write_durably(file, fresh.model_dump_json().encode())
        return fresh.nonce

    def policy(self) -> Policy:
        """Return the local policy (SP-29); a damaged file allows nothing and says so."""
        file = self.path / "policy.toml"
        if not file.is_file():
            return Policy()
        try:
            return Policy.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
        except (ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StateUnreadable("policy.toml is damaged: correct it; until then the agent does not start.") from error
