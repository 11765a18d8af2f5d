"""An instance that comes again is acknowledged only while the archive has it: what was lost meanwhile is stored again from what came.

The index alone doesn't tell: it names what was stored, not what is still there. So a repeat costs one look at the original in the first
place (its length, nothing is read) and at its open damage. Is it missing, short or marked, the bytes, which have the right SHA-256, are
put again, and one transaction closes the damage and wants the second copy again before anything is acknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import structlog
from sqlalchemy.orm import Session

from consilium_archive.copies import want_again
from consilium_archive.damage import is_marked, mark_sound
from consilium_archive.index import Outcome, decide, stored_already
from consilium_archive.stages import Indexed, Stored, original_key
from consilium_platform.blobs import BlobStore, first_place, is_whole
from consilium_platform.sql import Database

log = structlog.get_logger()


class Mender:
    """Looks after originals that are acknowledged again; holds no resources of its own."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._first = first_place(blobs)

    async def lost(self, tenant: str, known: Indexed, *, marked: bool | None = None) -> bool:
        """Tell whether the first place has not got the instance whole, or it is ``marked`` (None: look) as damaged there."""
        if marked is None:
            look = partial(is_marked, tenant=tenant, sha256=known.sha256, place="first")
            marked = await self._database.query(look)
        key = original_key(tenant, known.sha256)
        lost = marked or not await is_whole(self._first, key, known.size_bytes)
        if lost:
            log.error("original_damaged", place="first", key=key, marked=marked)
        return lost


def settle_again(session: Session, group: Sequence[Stored]) -> dict[int, Outcome]:
    """Close the damage of what was put again and is indexed still; return their outcomes by their places in the group.

    An instance that left the index meanwhile (retention) is not among them: it is to be judged like any other.
    """
    outcomes: dict[int, Outcome] = {}
    again = [(number, one.validated) for number, one in enumerate(group) if one.again]
    for number, valid in sorted(again, key=lambda pair: (pair[1].received.tenant, pair[1].sha256)):
        tenant = valid.received.tenant
        there = stored_already(session, tenant, [valid.header.sop_instance_uid])
        outcome = decide(valid, there) if there else None
        if isinstance(outcome, Indexed):
            want_again(session, [(tenant, valid.sha256)], datetime.now(UTC))
            mark_sound(session, tenant, valid.sha256, "first")
            log.warning("original_stored_again", key=original_key(tenant, valid.sha256))
            outcomes[number] = outcome
    return outcomes
