"""The table of storage commitment requests: one row per transaction, from the request to the delivered report (migration 0012).

``asked`` is the JSON list of ``[SOP Class UID, SOP Instance UID]`` in the order sent, ``verdicts`` (JSON) what was decided of each;
``instances`` and ``committed`` are how many they are, for lists that need not read them. ``digest`` is
the SHA-256 of requester and ``asked``: the same request sent again is the same row. A Transaction UID that is in use is kept as a
``duplicate``: its answer (Failure Reason 0131H) must survive a crash too. ``try_at`` is when a process may take the row up: whoever works
on it moves it into the future first.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Integer, MetaData, String, Table, Text, text

metadata = MetaData()
FIRST_OF_ITS_UID = "NOT duplicate"

commitment = Table(
    "archive_commitment",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("transaction_uid", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("duplicate", Boolean, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("requested_by", String(128), nullable=False),
    Column("role", String(32), nullable=False),
    Column("address", String(64), nullable=False),
    Column("called", String(16), nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("instances", Integer, nullable=False),
    Column("asked", Text, nullable=False),
    Column("verdicts", Text, nullable=True),
    Column("committed", Integer, nullable=True),
    Column("decided_at", DateTime(timezone=True), nullable=True),
    Column("state", String(16), nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("try_at", DateTime(timezone=True), nullable=False),
    Column("problem", String(64), nullable=False),
    Column("reported_at", DateTime(timezone=True), nullable=True),
    Index(
        "archive_commitment_uid", "tenant_id", "transaction_uid", unique=True,
        sqlite_where=text(FIRST_OF_ITS_UID), postgresql_where=text(FIRST_OF_ITS_UID),
    ),
    Index("archive_commitment_same", "tenant_id", "transaction_uid", "digest", unique=True),
    Index("archive_commitment_due", "state", "try_at"),
    Index("archive_commitment_page", "tenant_id", "id"),
    Index("archive_commitment_decided", "decided_at"),
)  # fmt: skip
