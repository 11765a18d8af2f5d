"""One import: walk, know again what a run before stored, store in bounded batches, write the journal. Owner of nothing it is given.

Backpressure: at most one batch is read ahead of the one that is being stored; a batch has at most 64 files or 64 MiB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from consilium_ingest.importing.journal import Journal, digest
from consilium_ingest.importing.outcomes import Answer, Outcome, Tally, outcome_of
from consilium_ingest.importing.sources import Found, Unusable, Walker, unreadable

_BATCH_FILES, _BATCH_BYTES = 64, 64 << 20


class Sink(Protocol):
    """Where files go: the archive of this process, or a server."""

    async def store(self, batch: Sequence[Found]) -> list[Answer]:
        """Return one answer per file, in order."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """What was read ahead: new files with their SHA-256, and what is settled already."""

    fresh: list[tuple[Found, str]]
    settled: list[Outcome]


async def run_import(
    walker: Walker,
    found: Iterator[Found | Unusable],
    sink: Sink,
    journal: Journal | None,
    tally: Tally,
    told: Callable[[], None],
) -> None:
    """Import everything; ``tally`` is right at every moment, also when this is cancelled. ``told`` is called after each batch."""
    ahead = asyncio.create_task(asyncio.to_thread(_take, found, journal), name="import-walk")
    taken: _Taken | None = None
    try:
        while taken := await ahead:
            ahead = asyncio.create_task(asyncio.to_thread(_take, found, journal), name="import-walk")
            answers = await sink.store([one for one, _ in taken.fresh]) if taken.fresh else []
            outcomes = [
                outcome_of(one.name, one.size_bytes, sha256, answer)
                for (one, sha256), answer in zip(taken.fresh, answers, strict=True)
            ]
            if journal is not None:
                ends = zip(taken.fresh, outcomes, strict=True)
                journal.add([one for one, how in ends if how.ending in ("stored", "already")])
            for outcome in [*taken.settled, *outcomes]:
                tally.add(outcome)
            tally.not_dicom = walker.left
            _discard(taken)
            told()
    finally:
        # the thread that walks can't be cancelled: it ends with its batch, which is then removed
        left = await asyncio.shield(asyncio.gather(ahead, return_exceptions=True))
        for one in (taken, *left):
            if isinstance(one, _Taken):
                _discard(one)
        tally.not_dicom = walker.left


def _take(found: Iterator[Found | Unusable], journal: Journal | None) -> _Taken | None:
    """Return the next batch, None at the end."""
    taken, size = _Taken([], []), 0
    for one in found:
        if isinstance(one, Unusable):
            taken.settled.append(_unusable(one))
        else:
            try:
                sha256 = digest(one.path)
            except OSError as problem:
                one.discard()
                taken.settled.append(_unusable(Unusable(one.name, unreadable(problem))))
                continue
            if journal is not None and journal.knows(one, sha256):
                one.discard()
                taken.settled.append(Outcome(one.name, "resumed", one.size_bytes, sha256))
            else:
                taken.fresh.append((one, sha256))
                size += one.size_bytes
        if len(taken.fresh) + len(taken.settled) >= _BATCH_FILES or size >= _BATCH_BYTES:
            return taken
    return taken if taken.fresh or taken.settled else None


def _unusable(one: Unusable) -> Outcome:
    refusal = one.refusal
    return Outcome(one.name, "refused", code=refusal.code, detail=refusal.detail, mend=refusal.mend)


def _discard(taken: _Taken) -> None:
    for one, _ in taken.fresh:
        one.discard()
