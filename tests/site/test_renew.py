"""A published stream outlives its token: sessions end with tokens at the server, so the agent shows each new one in time."""

from __future__ import annotations

import httpx2
import pytest

from consilium_core.clock import FakeClock
from consilium_core.errors import ConsiliumError
from consilium_core.site_protocol import Intervals
from consilium_site.adapters.http_client import Http, TokenKeeper
from consilium_site.adapters.http_gateway import HttpWhip
from consilium_site.domain.identity import Identity
from consilium_site.errors import ServerRefused, ServerUnavailable, StreamGone
from consilium_site.flow.renew import keep_renewed

HOURS = 6


class Ended(Exception):
    """The test's time is over."""


class Cloud:
    """Issues tokens and ends a session with the newest token that was shown for it, on the test's clock."""

    def __init__(self, clock: FakeClock, ttl_s: float) -> None:
        self.clock, self.ttl_s = clock, ttl_s
        self.ends: dict[str, float] = {}
        self.session_ends = clock.monotonic() + ttl_s
        self.renewals = self.outages = 0

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        now = self.clock.monotonic()
        if request.url.path == "/site/v1/token":
            token = f"token-{len(self.ends)}"
            self.ends[token] = now + self.ttl_s
            return httpx2.Response(200, json={"access_token": token, "expires_in_s": self.ttl_s})
        if self.outages:
            self.outages -= 1
            return httpx2.Response(503)
        assert (request.method, request.content) == ("PATCH", b"")
        token = request.headers["authorization"].removeprefix("Bearer ")
        assert now < self.ends[token], "an ended token was shown"
        if now >= self.session_ends:
            return httpx2.Response(404)
        self.session_ends = max(self.session_ends, self.ends[token])
        self.renewals += 1
        return httpx2.Response(204)


class Session:
    """The part of a media session that is renewed."""

    def __init__(self, whip: HttpWhip) -> None:
        self.whip = whip

    async def renew(self) -> float:
        return await self.whip.renew("https://cloud.test/whip/demo/1")


@pytest.mark.parametrize("ttl_s", [30.0, 600.0, 900.0])
@pytest.mark.parametrize("outage_every", [0, 5])
async def test_sp41_session_goes_on_for_hours_on_renewed_tokens(ttl_s: float, outage_every: int) -> None:
    clock = FakeClock()
    cloud, began, waits = Cloud(clock, ttl_s), clock.monotonic(), 0
    identity = Identity(
        site_id="s", tenant="t", name="", server_url="https://cloud.test", refresh_secret="r", code_sha256="",
        intervals=Intervals(),
    )  # fmt: skip
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(cloud.answer), base_url="https://cloud.test")
    async with client:
        http = Http(client, "https://cloud.test")
        http.tokens = TokenKeeper(http, identity, clock, lambda: None)

        async def sleep(seconds: float) -> None:
            nonlocal waits
            waits += 1
            clock.advance(seconds)
            if outage_every and waits % outage_every == 0:
                cloud.outages = 2
            if clock.monotonic() - began > HOURS * 3600:
                raise Ended

        with pytest.raises(Ended):
            await keep_renewed(Session(HttpWhip(http)), sleep)  # type: ignore[arg-type]  # the part that is used
    assert cloud.session_ends > began + HOURS * 3600
    assert cloud.renewals <= 4 * HOURS * 3600 / ttl_s + 4, "one renewal or two for each token"


async def test_sp41_session_that_the_server_ended_is_published_anew() -> None:
    class Gone:
        async def renew(self) -> float:
            raise StreamGone("no")

    assert await keep_renewed(Gone()) == "gone"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "at_least_s"),
    [
        (ServerRefused("no", status=415), 60),
        (ServerUnavailable("away"), 2),
        (ServerUnavailable("away", retry_after_s=9), 9),
    ],
)
async def test_sp41_server_that_does_not_answer_or_not_understand_is_asked_again(
    error: ConsiliumError, at_least_s: float
) -> None:
    class Failing:
        async def renew(self) -> float:
            raise error

    async def sleep(seconds: float) -> None:
        assert seconds == at_least_s
        raise Ended

    with pytest.raises(Ended):
        await keep_renewed(Failing(), sleep)  # type: ignore[arg-type]
