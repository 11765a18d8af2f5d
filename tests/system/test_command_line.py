"""The command line's pieces that need no running product: retries of the demo, the pointer, the trace of account changes."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import httpx2
import pytest

from consilium import demo
from consilium.ops import doctor, print_token, save_user, verify_audit
from consilium.state import data_folder, remember
from consilium_core.errors import NotFound
from consilium_platform.audit import AuditLog
from consilium_platform.migrate import upgrade
from consilium_platform.settings import PlatformSettings
from consilium_platform.sql import open_database


async def test_what_fails_in_the_demo_is_tried_again_and_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tries, pauses = 0, []
    real_sleep = asyncio.sleep

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries < 9:
            raise demo.DemoRefused("the patients: 503")

    async def no_wait(seconds: float) -> None:
        pauses.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(demo.asyncio, "sleep", no_wait)
    await demo._until_done("The demo data could not be stored", work)
    assert tries == 9
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    told = [line for line in capsys.readouterr().out.splitlines() if "it is tried again" in line]
    assert told == ["The demo data could not be stored (the patients: 503); it is tried again."]


def test_a_refused_step_names_its_status_and_reason() -> None:
    with pytest.raises(demo.DemoRefused, match="the request: 422 No such patient"):
        demo._answer(httpx2.Response(422, json={"detail": "No such patient."}), "the request", 201)
    with pytest.raises(demo.DemoRefused, match="the room: 502"):
        demo._answer(httpx2.Response(502, text="<html>"), "the room", 200)


def test_a_home_that_cannot_be_written_does_not_stop_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.chdir(tmp_path)
    remember(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(NotFound, match="--data"):
        data_folder(None)


@pytest.mark.parametrize("content", [None, b"", b"not a database"])
def test_a_folder_without_data_is_refused_in_words_and_left_as_it_is(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "wrong"
    if content is not None:
        folder.mkdir()
        (folder / "consilium.db").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    for command in (
        lambda: print_token("specialist", "10m", folder),
        lambda: doctor(folder),
        lambda: verify_audit("demo", folder),
    ):
        with pytest.raises(NotFound, match="no consilium data"):
            command()
    assert sorted(tmp_path.rglob("*")) == before


def test_an_account_made_on_the_command_line_is_in_the_audit_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = PlatformSettings.load(data_dir=tmp_path)
    asyncio.run(upgrade(settings.sql_url, "head"))
    monkeypatch.setattr("sys.stdin", io.StringIO("long-enough-1\n"))
    save_user("mira", "itsec", "Mira", "north", tmp_path)

    async def trail() -> list[dict[str, object]]:
        async with open_database(settings.sql_url) as database:
            return await AuditLog(database).search("north")

    (entry,) = asyncio.run(trail())
    assert (entry["action"], entry["role"], entry["outcome"]) == ("user.save", "command-line", "success")
    assert str(entry["actor"]).startswith("command line of ")
    assert "itsec" in str(entry["detail"])
    assert "long-enough-1" not in str(entry)
    assert verify_audit("north", tmp_path) == 0
    assert "mira is a new itsec of north." in capsys.readouterr().out
