"""``consilium cluster`` speaks of CronJobs by their last run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from consilium.cluster import cron_line, workload_lines

NIGHT = datetime(2026, 3, 1, 1, 17, tzinfo=UTC)


def cron(begun: datetime | None, good: datetime | None, *, active: int = 0, suspend: bool = False) -> Any:
    """Return a CronJob as the API tells of it."""
    status = SimpleNamespace(last_schedule_time=begun, last_successful_time=good, active=[object()] * active or None)
    return SimpleNamespace(metadata=named("consilium-scrub"), spec=SimpleNamespace(suspend=suspend), status=status)


def named(name: str, owner: str | None = None) -> Any:
    """Return an object's metadata."""
    owners = [SimpleNamespace(kind=owner)] if owner else None
    return SimpleNamespace(name=name, owner_references=owners)


@pytest.mark.parametrize(
    ("given", "ready", "said"),
    [
        (cron(None, None), True, "no success yet"),
        (cron(NIGHT, NIGHT + timedelta(minutes=9)), True, "last success 2026-03-01 01:26"),
        (cron(NIGHT, NIGHT - timedelta(days=1)), False, "last success 2026-02-28 01:17, last run failed"),
        (cron(NIGHT, None), False, "no success yet, last run failed"),
        (cron(NIGHT, None, active=1), True, "no success yet, running"),
        (cron(NIGHT, NIGHT, suspend=True), True, "last success 2026-03-01 01:17, suspended"),
        (cron(NIGHT, None, suspend=True), False, "no success yet, suspended"),
    ],
)
def test_a_cronjob_is_told_by_its_last_run(given: Any, ready: bool, said: str) -> None:
    assert cron_line(given) == (ready, f"cronjob    consilium-scrub          {said}")


def test_runs_of_a_cronjob_have_no_line_of_their_own() -> None:
    """One that is under way, or one that failed last week and is kept, would make a sound release look unready."""
    status = SimpleNamespace(succeeded=None)
    run = SimpleNamespace(metadata=named("consilium-scrub-29700077", "CronJob"), status=status)
    migrate = SimpleNamespace(metadata=named("consilium-migrate"), status=status)
    lines = workload_lines([], [cron(None, None)], [run, migrate])
    assert [line.split()[:2] for _, line in lines] == [["cronjob", "consilium-scrub"], ["job", "consilium-migrate"]]
    assert [ready for ready, _ in lines] == [True, False]
