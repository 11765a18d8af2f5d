"""What is known to be wrong in a store: one row for each original and place, open until it is repaired."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from consilium_archive.storage_tables import damage
from consilium_platform.hot import Hot
from consilium_platform.sql import upsert

Place = Literal["first", "copy"]
Kind = Literal["missing", "corrupt"]


_OPEN = Hot(
    select(damage.c.kind).where(
        damage.c.tenant_id == bindparam("tenant"), damage.c.sha256 == bindparam("sha256"),
        damage.c.place == bindparam("place"), damage.c.repaired_at.is_(None),
    )
)  # fmt: skip


def is_marked(session: Session, tenant: str, sha256: str, place: Place) -> bool:
    """Tell whether an original is known to be missing or corrupt in one place."""
    return _OPEN.first(session, {"tenant": tenant, "sha256": sha256, "place": place}) is not None


def mark_damage(session: Session, tenant: str, sha256: str, place: Place, kind: Kind) -> None:
    """Remember that an original is missing or corrupt in one place."""
    facts = {"kind": kind, "found_at": datetime.now(UTC), "repaired_at": None}
    new = upsert(session)(damage).values(tenant_id=tenant, sha256=sha256, place=place, **facts)
    session.execute(new.on_conflict_do_update(index_elements=["tenant_id", "sha256", "place"], set_=facts))


def mark_sound(session: Session, tenant: str, sha256: str, place: Place) -> None:
    """Close the row of an original that was found whole, or made whole, in one place."""
    session.execute(
        update(damage)
        .where(
            damage.c.tenant_id == tenant, damage.c.sha256 == sha256, damage.c.place == place,
            damage.c.repaired_at.is_(None),
        )
        .values(repaired_at=datetime.now(UTC))
    )  # fmt: skip
