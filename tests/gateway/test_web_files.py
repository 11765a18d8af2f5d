"""The web client's files behind the door."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from consilium_gateway.adapters.web import CSP
from consilium_platform.platform import Platform

from .conftest import Opened, opened

INDEX = "<!doctype html><title>consilium</title>"
SCRIPT = "export const words = 1;\n" * 200


@pytest_asyncio.fixture
async def web(platform: Platform, tmp_path: Path) -> AsyncIterator[Opened]:
    """Yield a gateway with a small built client; a secret lies beside its folder."""
    root = tmp_path / "dist"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text(INDEX)
    (root / "assets" / "index-B1x2Y3z4.js").write_text(SCRIPT)
    (root / "assets" / "font-A1b2C3d4.woff2").write_bytes(bytes(4096))
    (root / "favicon.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    async with opened(platform, root) as running:
        running.http.headers["accept-encoding"] = "identity"
        yield running


@pytest.mark.parametrize("path", ["/", "/rooms/demo", "/studies/2.25.318033", "/index.html"])
async def test_the_clients_own_routes_get_the_index_uncached(web: Opened, path: str) -> None:
    reply = await web.http.get(path)
    assert (reply.status_code, reply.text) == (200, INDEX)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"


async def test_every_answer_carries_the_security_headers(web: Opened) -> None:
    for path in ("/", "/assets/index-B1x2Y3z4.js", "/missing.js"):
        headers = (await web.http.get(path)).headers
        assert headers["content-security-policy"] == CSP
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


async def test_hashed_assets_are_kept_for_ever_and_have_the_right_types(web: Opened) -> None:
    script = await web.http.get("/assets/index-B1x2Y3z4.js")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert script.headers["content-type"].startswith("text/javascript")
    assert (await web.http.get("/assets/font-A1b2C3d4.woff2")).headers["content-type"] == "font/woff2"
    icon = await web.http.get("/favicon.svg")
    assert (icon.headers["content-type"], icon.headers["cache-control"]) == ("image/svg+xml", "no-cache")


async def test_text_is_packed_for_those_who_can_unpack(web: Opened) -> None:
    reply = await web.http.get("/assets/index-B1x2Y3z4.js", headers={"accept-encoding": "br, gzip"})
    assert reply.headers["content-encoding"] == "gzip"
    assert int(reply.headers["content-length"]) < len(SCRIPT) // 4
    assert reply.text == SCRIPT
    plain = await web.http.get("/assets/index-B1x2Y3z4.js")
    assert "content-encoding" not in plain.headers
    font = await web.http.get("/assets/font-A1b2C3d4.woff2", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in font.headers


async def test_a_packed_file_beside_is_used(web: Opened, tmp_path: Path) -> None:
    beside = tmp_path / "dist" / "assets" / "index-B1x2Y3z4.js.gz"
    beside.write_bytes(gzip.compress(SCRIPT.encode(), 9, mtime=7))
    reply = await web.http.get("/assets/index-B1x2Y3z4.js", headers={"accept-encoding": "gzip"})
    assert int(reply.headers["content-length"]) == beside.stat().st_size
    assert reply.text == SCRIPT


async def test_an_unchanged_file_is_not_sent_again_and_a_changed_one_is(web: Opened, tmp_path: Path) -> None:
    first = await web.http.get("/")
    again = await web.http.get("/", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    (tmp_path / "dist" / "index.html").write_text(INDEX + "<p>new</p>")
    changed = await web.http.get("/", headers={"if-none-match": first.headers["etag"]})
    assert (changed.status_code, changed.text) == (200, INDEX + "<p>new</p>")


async def test_head_says_the_length_without_the_body_and_post_is_not_allowed(web: Opened) -> None:
    reply = await web.http.head("/")
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-length"] == str(len(INDEX))
    assert (await web.http.post("/")).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/missing.js",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/link.txt",
        "/..secret.txt",
    ],
)
async def test_nothing_outside_the_folder_is_served(web: Opened, path: str) -> None:
    reply = await web.http.get(path)
    assert reply.status_code == 404
    assert "secret" not in reply.text


@pytest.mark.parametrize("folder", [None, "nowhere"])
async def test_without_a_built_client_a_page_says_how_to_build_it(
    platform: Platform, tmp_path: Path, folder: str | None
) -> None:
    async with opened(platform, None if folder is None else tmp_path / folder) as gateway:
        reply = await gateway.http.get("/rooms/demo")
        assert reply.status_code == 503
        assert "make web" in reply.text
        assert (await gateway.http.get("/api/v1/info")).status_code == 200


async def test_a_path_with_nul_names_no_file_and_breaks_nothing(web: Opened) -> None:
    assert (await web.http.get("/rooms%00/x")).status_code in (400, 404, 503)


def test_pages_reach_only_their_own_origin() -> None:
    rules = dict(rule.strip().partition(" ")[::2] for rule in CSP.split(";"))
    assert (rules["connect-src"], rules["form-action"], rules["object-src"]) == ("'self'", "'self'", "'none'")
