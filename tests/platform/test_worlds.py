"""The platform opens in both worlds."""

from __future__ import annotations

from consilium_platform.http.app import readiness
from consilium_platform.platform import Platform


async def test_every_dependency_is_ready_in_both_worlds(any_platform: Platform) -> None:
    answers = await readiness(any_platform.dependencies)
    assert set(answers.values()) == {"ok"}, answers
