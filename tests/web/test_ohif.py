"""OHIF's published build opens a study through our DICOMweb in a real browser: series, metadata, pixels (an independent client)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from consilium_core.roles import Role
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door, door_client, door_server
from consilium_testkit.instances import multipart, uids_of
from consilium_testkit.platforms import bearer

pytestmark = pytest.mark.browser
SLICES = 6
SOURCE = {
    "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
    "sourceName": "dicomweb",
    "configuration": {
        "friendlyName": "consilium", "name": "consilium", "qidoRoot": "/dicomweb", "wadoRoot": "/dicomweb",
        "wadoUriRoot": "/wado", "qidoSupportsIncludeField": True, "supportsReject": False, "imageRendering": "wadors",
        "thumbnailRendering": "wadors", "enableStudyLazyLoad": True, "supportsFuzzyMatching": True,
        "supportsWildcard": True, "omitQuotationForMultipartRequest": False,
    },
}  # fmt: skip
CONFIG = {
    "routerBasename": "/", "showStudyList": True, "extensions": [], "modes": [], "customizationService": {},
    "defaultDataSourceName": "dicomweb", "dataSources": [SOURCE], "investigationalUseDialog": {"option": "never"},
}  # fmt: skip
# Levels of grey that stand in the middle of the viewport's canvas: one means that nothing is drawn.
LEVELS = """
() => {
  const canvas = document.querySelector('.cornerstone-canvas');
  if (!canvas || !canvas.width) return 0;
  const copy = Object.assign(document.createElement('canvas'), { width: 64, height: 64 });
  const paint = copy.getContext('2d');
  paint.drawImage(canvas, canvas.width / 4, canvas.height / 4, canvas.width / 2, canvas.height / 2, 0, 0, 64, 64);
  const data = paint.getImageData(0, 0, 64, 64).data;
  return new Set(data.filter((_, at) => at % 4 === 0)).size;
}
"""


class OhifBeside:
    """OHIF's files, and our DICOMweb under the same origin; the token is added here, as a reverse proxy with sign-in would."""

    def __init__(self, dist: Path, door: Door, token: str) -> None:
        self._dist = dist
        self._door = door
        self._token = token.encode()
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(("/dicomweb", "/wado")):
            self.asked.append(path)
            scope["headers"] = [*scope["headers"], (b"authorization", self._token)]
            await self._door(scope, receive, send)
            return
        file = self._dist / path.lstrip("/")
        answer: Response
        if path == "/app-config.js":
            answer = Response(f"window.config = {json.dumps(CONFIG)};", media_type="text/javascript")
        elif file.is_file():
            answer = FileResponse(file)
        else:
            answer = FileResponse(self._dist / "index.html")
        await answer(scope, receive, send)


@pytest.fixture
def ohif(repo: Path) -> Path:
    """Return the folder of OHIF's build."""
    dist = repo / ".cache" / "ohif"
    if not (dist / "index.html").is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("OHIF is not here: infra/make/ohif.sh")
    return dist


async def test_ohif_lists_a_study_and_shows_its_pixels(
    platform: Platform, browser: Browser, ohif: Path, shared_data: Path
) -> None:
    files = [path.read_bytes() for path in sorted((shared_data / "ct_lidc0314").glob("*.dcm"))[100 : 100 + SLICES]]
    study, series, _ = uids_of(files[0])
    token = bearer(platform, Role.ADMIN)
    async with archive_door(platform) as door:
        async with door_client(door, token) as client:
            body, media = multipart(files)
            stored = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
            assert stored.status_code == 200, stored.text
        beside = OhifBeside(ohif, door, token["Authorization"])
        async with door_server(beside) as url:  # type: ignore[arg-type]
            page = await browser.new_page(viewport={"width": 1280, "height": 800})
            await page.goto(url)
            await expect(page.get_by_role("row").filter(has_text="01-Jan-2000")).to_contain_text("CT", timeout=60_000)
            await page.goto(f"{url}/viewer?StudyInstanceUIDs={study}")
            await page.wait_for_function(f"() => ({LEVELS})() > 20", timeout=120_000)
            await page.close()
    assert f"/dicomweb/studies/{study}/series" in beside.asked
    assert f"/dicomweb/studies/{study}/series/{series}/metadata" in beside.asked
    assert any(path.startswith(f"/dicomweb/studies/{study}/series/{series}/instances/") for path in beside.asked)
