"""Sign-in, refresh, sign-out and re-authentication of people."""

from __future__ import annotations

import httpx2
import pytest

from consilium_core.errors import Denied, NotFound
from consilium_core.roles import Role
from consilium_gateway.adapters.passwords import NOBODY, hash_password, open_passwords
from consilium_gateway.errors import UserUnknown
from consilium_gateway.flow.users import ensure_user, issue_token
from consilium_platform.platform import Platform

from .conftest import PASSWORD, Clocked, Opened, opened

OURS = {"X-Requested-By": "consilium"}


def cookie(reply: httpx2.Response) -> str:
    """Return the refresh cookie that an answer sets."""
    return reply.headers["set-cookie"].split(";")[0].partition("=")[2]


async def refresh(gateway: Opened, secret: str, headers: dict[str, str] = OURS) -> httpx2.Response:
    """Refresh with exactly this cookie."""
    gateway.http.cookies.clear()
    sent = {**headers, "Cookie": f"consilium_refresh={secret}"}
    return await gateway.http.post("/api/v1/session/refresh", headers=sent)


async def test_sign_in_gives_a_token_that_says_who_one_is_and_a_locked_down_cookie(any_gateway: Opened) -> None:
    user = await any_gateway.user()
    reply = await any_gateway.sign_in()
    assert reply.status_code == 200
    body = reply.json()
    assert body["user"] == user.wire()
    words = reply.headers["set-cookie"].lower()
    assert all(word in words for word in ("httponly", "samesite=strict", "path=/api/v1/session"))
    assert reply.headers["cache-control"] == "no-store"
    who = await any_gateway.http.get("/api/v1/session", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert who.json()["user"]["username"] == "specialist"
    assert (await any_gateway.audited("session.create"))[0]["outcome"] == "success"


async def test_wrong_password_and_unknown_name_get_the_same_answer_and_are_audited(any_gateway: Opened) -> None:
    user = await any_gateway.user()
    wrong, unknown = await any_gateway.sign_in(password="nope"), await any_gateway.sign_in("nobody", "nope")
    assert wrong.status_code == unknown.status_code == 401
    kept = ("type", "title", "status", "detail", "code", "mend")
    assert [wrong.json()[k] for k in kept] == [unknown.json()[k] for k in kept]
    assert "set-cookie" not in wrong.headers
    entries = await any_gateway.audited("session.create")
    assert [(e["actor"], e["outcome"]) for e in entries] == [("unknown", "denied"), (user.id, "denied")]
    assert all(entry["detail"].endswith("from 10.0.0.1") for entry in entries)
    assert "unknown name" in entries[0]["detail"]
    assert "nobody" not in entries[0]["detail"], "what was typed may be a password"


async def test_a_flood_of_wrong_sign_ins_is_counted_not_written(gateway: Opened) -> None:
    for number in range(80):
        assert (await gateway.sign_in(f"nobody-{number}", "nope")).status_code in (401, 429)
    assert len(await gateway.platform.audit.search("demo", action="session.create", limit=200)) == 31


@pytest.mark.parametrize(("hops", "address"), [(0, "10.0.0.1"), (1, "203.0.113.7"), (2, "198.51.100.9")])
async def test_behind_proxies_the_trail_names_the_client(platform: Platform, hops: int, address: str) -> None:
    async with opened(platform, trusted_proxy_hops=hops) as gateway:
        headers = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7", "Authorization": "Bearer nonsense"}
        assert (await gateway.http.get("/api/v1/sites", headers=headers)).status_code == 401
        await gateway.http.post("/api/v1/session", json={"username": "x", "password": "y"}, headers=headers)
        refused = await gateway.audited("session.create")
        assert refused[0]["detail"].endswith(f"from {address}")


async def test_a_name_is_found_whatever_its_case_and_a_disabled_account_is_refused(gateway: Opened) -> None:
    await gateway.user()
    assert (await gateway.sign_in(" Specialist ")).status_code == 200
    from sqlalchemy import update

    from consilium_gateway.adapters.tables import user_account

    async with gateway.platform.database.write() as session:
        await session.execute(update(user_account).values(disabled=True))
    assert (await gateway.sign_in()).status_code == 401


async def test_five_failures_make_the_next_try_wait_even_with_the_right_password(clocked: Clocked) -> None:
    await clocked.user()
    await clocked.user("operator", Role.OPERATOR)
    for _ in range(5):
        assert (await clocked.sign_in(password="nope")).status_code == 401
    blocked = await clocked.sign_in()
    assert blocked.status_code == 429
    assert int(blocked.headers["retry-after"]) > 60
    assert (await clocked.audited("session.create"))[0]["detail"] == "too many tries, from 10.0.0.1"
    assert (await clocked.sign_in("operator")).status_code == 200, "another user at the same address is not blocked"
    clocked.clock.advance(901)
    assert (await clocked.sign_in()).status_code == 200


async def test_refresh_rotates_the_secret_and_gives_a_new_token(any_gateway: Opened) -> None:
    await any_gateway.user()
    first = cookie(await any_gateway.sign_in())
    reply = await refresh(any_gateway, first)
    assert reply.status_code == 200
    assert cookie(reply) != first
    assert (await refresh(any_gateway, cookie(reply))).status_code == 200


async def test_refresh_and_sign_out_need_the_header_that_only_our_client_sends(gateway: Opened) -> None:
    await gateway.user()
    secret = cookie(await gateway.sign_in())
    assert (await refresh(gateway, secret, {})).status_code == 403
    gateway.http.cookies.clear()
    reply = await gateway.http.delete("/api/v1/session", headers={"Cookie": f"consilium_refresh={secret}"})
    assert reply.status_code == 403
    assert (await refresh(gateway, secret)).status_code == 200, "the refused requests changed nothing"


async def test_an_old_secret_that_comes_back_ends_the_whole_session(clocked: Clocked) -> None:
    user = await clocked.user()
    stolen = cookie(await clocked.sign_in())
    current = cookie(await refresh(clocked, stolen))
    clocked.clock.advance(11)
    assert (await refresh(clocked, stolen)).status_code == 401
    assert (await refresh(clocked, current)).status_code == 401
    assert (await clocked.audited("session.reuse"))[0]["actor"] == user.id


async def test_two_tabs_that_refresh_at_once_both_go_on(clocked: Clocked) -> None:
    await clocked.user()
    first = cookie(await clocked.sign_in())
    second = cookie(await refresh(clocked, first))
    late = await refresh(clocked, first)
    assert late.status_code == 200
    assert "set-cookie" not in late.headers, "the browser already holds the newer cookie"
    assert (await refresh(clocked, second)).status_code == 200


async def test_a_session_ends_after_twelve_idle_hours_but_not_while_it_is_used(clocked: Clocked) -> None:
    await clocked.user()
    secret = cookie(await clocked.sign_in())
    for _ in range(3):
        clocked.clock.advance(11 * 3600)
        reply = await refresh(clocked, secret)
        assert reply.status_code == 200
        secret = cookie(reply)
    clocked.clock.advance(12 * 3600 + 1)
    assert (await refresh(clocked, secret)).status_code == 401


async def test_sign_out_ends_the_session_and_clears_the_cookie(any_gateway: Opened) -> None:
    await any_gateway.user()
    secret = cookie(await any_gateway.sign_in())
    any_gateway.http.cookies.clear()
    headers = {**OURS, "Cookie": f"consilium_refresh={secret}"}
    reply = await any_gateway.http.delete("/api/v1/session", headers=headers)
    assert reply.status_code == 204
    assert "max-age=0" in reply.headers["set-cookie"].lower()
    assert (await refresh(any_gateway, secret)).status_code == 401
    assert (await any_gateway.audited("session.close"))[0]["outcome"] == "success"


@pytest.mark.parametrize("secret", ["", "nonsense", "01ARZ3NDEKTSV4RRFFQ69G5FAV.x", "a" * 5000])
async def test_a_made_up_cookie_is_refused(gateway: Opened, secret: str) -> None:
    assert (await refresh(gateway, secret)).status_code == 401


async def test_the_cookie_is_secure_behind_a_trusted_https_proxy(gateway: Opened) -> None:
    await gateway.user()
    plain = await gateway.sign_in()
    assert "secure" not in plain.headers["set-cookie"].lower()
    gateway.http.headers["X-Forwarded-Proto"] = "https"
    assert "secure" not in (await gateway.sign_in()).headers["set-cookie"].lower(), "nobody told us to trust it"


async def test_a_service_may_have_a_password_checked_again(any_gateway: Opened) -> None:
    user = await any_gateway.user("reviewer", Role.REVIEWER)
    call, path = any_gateway.platform.services.call, f"/internal/v1/users/{user.id}/verify-password"
    good = {"password": PASSWORD}
    assert await call("gateway", "POST", path, tenant="demo", caller="consult", json=good) is None
    with pytest.raises(Denied) as refusal:
        await call("gateway", "POST", path, tenant="demo", caller="consult", json={"password": "nope"})
    assert refusal.value.code == "password-wrong"
    with pytest.raises(NotFound):
        await call("gateway", "POST", path, tenant="elsewhere", caller="consult", json=good)
    assert [e["outcome"] for e in await any_gateway.audited("password.verify")] == ["denied", "success"]


async def test_users_are_listed_without_their_hashes(gateway: Opened) -> None:
    await gateway.user()
    await gateway.user("admin", Role.ADMIN)
    reply = await gateway.http.get("/api/v1/users", headers=gateway.as_(Role.ADMIN))
    assert [u["username"] for u in reply.json()["items"]] == ["admin", "specialist"]
    assert "argon2" not in reply.text


async def test_ensure_user_is_idempotent_and_changes_name_role_and_password(gateway: Opened) -> None:
    first = await gateway.user()
    again, new = await ensure_user(
        gateway.platform.database, username="Specialist", name="Doctor", role=Role.REVIEWER, password="another one"
    )
    assert (again.id, again.role, new) == (first.id, Role.REVIEWER, False)
    assert (await gateway.sign_in()).status_code == 401
    assert (await gateway.sign_in(password="another one")).json()["user"]["name"] == "Doctor"


async def test_the_command_line_token_is_the_users_and_not_for_strangers(gateway: Opened) -> None:
    user = await gateway.user()
    signer, database = gateway.platform.user_signer, gateway.platform.database
    assert signer is not None
    principal = gateway.platform.verifier.verify(await issue_token(database, signer, "specialist", 60))
    assert (principal.subject, principal.role) == (user.id, Role.SPECIALIST)
    with pytest.raises(UserUnknown):
        await issue_token(database, signer, "nobody", 60)


async def test_an_expired_token_is_refused_and_audited(clocked: Clocked) -> None:
    await clocked.user()
    token = (await clocked.sign_in()).json()["access_token"]
    clocked.clock.advance(601)
    reply = await clocked.http.get("/api/v1/session", headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 401
    assert (await clocked.audited("token.refused"))[0]["detail"] == "expired"


async def test_passwords_at_their_real_cost_are_argon2id_with_64_mib_for_nobody_too() -> None:
    async with open_passwords() as passwords:
        stored = hash_password("a good one")
        assert stored.startswith(NOBODY.rpartition("p=4")[0] + "p=4$")
        assert "m=65536,t=3" in stored
        assert await passwords.verify("a good one", stored)
        assert not await passwords.verify("another", stored)
        assert not await passwords.verify("a good one", None)
