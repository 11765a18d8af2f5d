"""What pre-fetching could not do, and when it is tried again. Pure: who owns it tells it the time.

A consultation that failed is tried again after 10 s, then after twice as long each time: up to five minutes while something does not answer,
up to an hour where asking again does not mend it by itself (a refusal, an answer that is not understood). It is given up when nobody would keep
its priors hot any more.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from consilium_imaging.bookings import Told

FIRST_S = 10.0
_MOST_S, _MOST_LASTING_S = 300.0, 3600.0
_MOST = 4096


@dataclass(frozen=True, slots=True)
class _Failure:
    told: Told
    tries: int
    first_at: float
    due_at: float  # infinite while it is being tried


class Retries:
    """Consultations that failed; at most 4,096, further ones are found in the outbox at the next start."""

    def __init__(self, clock: Callable[[], float], keep_s: float) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._failures: dict[tuple[str, str], _Failure] = {}

    def __bool__(self) -> bool:
        """Tell whether anything has failed."""
        return bool(self._failures)

    def failed(self, told: Told, *, lasting: bool) -> float | None:
        """Take note of a failure; return after how many seconds it is tried again, None if never."""
        key, now = (told.tenant, told.consultation_id), self._clock()
        before = self._failures.pop(key, None)
        tries, first_at = (before.tries + 1, before.first_at) if before is not None else (1, now)
        if now - first_at >= self._keep_s or len(self._failures) >= _MOST:
            return None
        pause_s = min(FIRST_S * 2.0 ** min(tries - 1, 10), _MOST_LASTING_S if lasting else _MOST_S)
        self._failures[key] = _Failure(told, tries, first_at, now + pause_s)
        return pause_s

    def done(self, told: Told) -> None:
        """Forget what has been served for this event or an earlier one."""
        failure = self._failures.get((told.tenant, told.consultation_id))
        if failure is not None and failure.told.seq <= told.seq:
            del self._failures[told.tenant, told.consultation_id]

    def holds(self, told: Told) -> bool:
        """Tell whether the event, or a later one of its consultation, has its own time to be tried again."""
        failure = self._failures.get((told.tenant, told.consultation_id))
        return failure is not None and failure.told.seq >= told.seq

    def due(self) -> list[Told]:
        """Return what is to be tried now; each is returned once until it has failed again."""
        now = self._clock()
        found = [(key, one) for key, one in self._failures.items() if one.due_at <= now]
        for key, one in found:
            self._failures[key] = _Failure(one.told, one.tries, one.first_at, math.inf)
        return [one.told for _, one in found]


@dataclass(frozen=True, slots=True)
class Problem:
    """What kept a prior from being hot; ``again_at``: before that it is not fetched, for it is being restored."""

    code: str
    again_at: datetime | None = None


class Problems:
    """The problems of studies that were not hot when they were last tried; the newest 4,096."""

    def __init__(self) -> None:
        self._problems: OrderedDict[tuple[str, str], Problem] = OrderedDict()

    def of(self, tenant: str, study_uid: str) -> Problem | None:
        """Return what a study's was."""
        return self._problems.get((tenant, study_uid))

    def remember(self, tenant: str, study_uid: str, problem: Problem | None) -> None:
        """Take note of one, or that there is none any more."""
        self._problems.pop((tenant, study_uid), None)
        if problem is not None:
            self._problems[tenant, study_uid] = problem
            while len(self._problems) > _MOST:
                self._problems.popitem(last=False)


def worst(problems: list[Problem]) -> Problem | None:
    """Return what to say of a study with these problems of its objects: a restore only if there is nothing else, and the last of them."""
    others = [one for one in problems if one.again_at is None]
    restored = [(one.again_at, one) for one in problems if one.again_at is not None]
    if others or not restored:
        return others[-1] if others else None
    return max(restored, key=lambda one: one[0])[1]
