"""Killed with SIGKILL at random under load, and with each server behind it stopped for a while: nothing acknowledged is lost.

``make kill-archive`` does the same 200 times and for 20 s each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from consilium_platform.settings import PlatformSettings
from consilium_testkit.kill_archive import Strain, environment, strained
from consilium_testkit.platforms import fresh_settings, with_copy

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]
SEED = 20261125


def assert_nothing_lost(strain: Strain, world: str) -> None:
    """Check the account, and that it is one of something."""
    account = strain.account
    print(account.line(world))
    assert account.wrong == []
    assert account.acknowledged > 0
    assert account.whole == account.listed == account.announced == account.heard >= account.acknowledged


async def test_killed_at_random_under_load_nothing_acknowledged_is_lost(tmp_path: Path, migrated_file: Path) -> None:
    settings = with_copy(PlatformSettings.load(data_dir=tmp_path / "data"), migrated_file)
    async with strained(settings, {}, senders=3, seed=SEED) as strain:
        await strain.kill_often(12)
    assert_nothing_lost(strain, "embedded")
    assert strain.account.kills == 12


@pytest.mark.servers
async def test_killed_and_with_each_server_stopped_nothing_acknowledged_is_lost(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = await fresh_settings(request.getfixturevalue("real_servers"), tmp_path / "data")
    async with strained(settings, environment(settings), senders=3, seed=SEED) as strain:
        await strain.kill_often(4)
        for program in ("postgres", "redis-server", "radosgw"):
            await strain.outage(program, 3.0)
        await strain.kill_often(2)
    assert_nothing_lost(strain, "servers")
    assert strain.account.stops == ["postgres", "redis-server", "radosgw"]
