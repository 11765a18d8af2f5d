"""Pages over a large index on either database: QIDO-RS by its usual filters, the work list by words; p50, p95 and CPU of each.

The goal is a p95 of 30 ms with 100,000 studies. The index is filled by ``load_index``; the server is the same as for all figures.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from archive_peers import Client, Target, consilium
from archive_work import timed
from consilium_platform.migrate import upgrade
from load_index import load

GOAL_MS = 30.0
_WORKLIST = "//api/v1/imaging/worklist"
# name -> the address of the n-th request; what is asked for differs from call to call, so that nothing is remembered
PAGES: dict[str, Callable[[int], str]] = {
    "all": lambda n: f"/studies?limit=100&offset={n * 100}",
    "patient_id": lambda n: f"/studies?PatientID=P{n * 37:07d}",
    "patient_id_wild": lambda n: f"/studies?PatientID=P00{n:02d}*&limit=100",
    "name_pinyin_common": lambda n: f"/studies?PatientName={('wang', 'li', 'zhang', 'liu')[n % 4]}*&limit=50&offset={n}",
    "name_wild_both": lambda n: f"/studies?PatientName=*{quote(_GIVEN[n % len(_GIVEN)])}*&limit=50&offset={n}",
    "name_nobody": lambda n: f"/studies?PatientName=nobody{_GIVEN_LATIN[n % 10]}*",
    "name_fuzzy": lambda n: f"/studies?PatientName={('smyth', 'wang%20xiao', 'mueler')[n % 3]}&fuzzymatching=true&offset={n}",
    "date_range": lambda n: f"/studies?StudyDate=2022{1 + n % 12:02d}01-2023{1 + n % 12:02d}15&limit=100&offset={n}",
    "modality_common": lambda n: f"/studies?ModalitiesInStudy={('CT', 'MR', 'US')[n % 3]}&limit=100&offset={n}",
    "modality_rare": lambda n: f"/studies?ModalitiesInStudy=OT&limit=100&offset={n}",
    "name_date_modality": lambda n: f"/studies?PatientName=wang*&StudyDate=2020{1 + n % 12:02d}01-&ModalitiesInStudy=MR&offset={n}",
    "series_page": lambda n: f"/series?limit=100&offset={n}",
    "series_modality_date": lambda n: f"/series?Modality=CT&StudyDate=202301{1 + n % 28:02d}&limit=100",
    "instances_page": lambda n: f"/instances?limit=100&offset={n}",
    "ordered_by_name": lambda n: f"/studies?orderby=PatientName&limit=100&offset={n}",
    "worklist": lambda n: f"{_WORKLIST}?limit={50 + n % 50}",
    "worklist_name": lambda n: f"{_WORKLIST}?q={('wang', 'zhang', 'li', 'smith')[n % 4]}&limit={50 + n % 50}",
    "worklist_two_words": lambda n: f"{_WORKLIST}?q={('wang', 'liu')[n % 2]}+chest&limit={50 + n % 50}",
    "worklist_accession": lambda n: f"{_WORKLIST}?q=A2{n % 4}0{1 + n % 9}1{n % 9}00{n:04d}",
    "worklist_filters": lambda n: f"{_WORKLIST}?modality=OT&date_from=2016-{1 + n % 12:02d}-01&date_to=2023-12-31",
}  # fmt: skip
_GIVEN = "伟芳娜敏静丽强磊军洋"
_GIVEN_LATIN = "abcdefghij"


def bench_index(folder: Path, studies: int, calls: int, env: dict[str, str] | None = None) -> bool:
    """Fill the index, ask for each page; print p50, p95 and CPU; return whether every p95 met the goal."""
    folder.mkdir(parents=True, exist_ok=True)
    url = (env or {}).get("CONSILIUM_PLATFORM_DATABASE_URL", f"sqlite+aiosqlite:///{folder / 'consilium.db'}")
    asyncio.run(_filled(url, studies))
    with consilium(folder, env) as target:
        return pages(target, studies, calls, "postgresql" if env else "sqlite")


async def _filled(url: str, studies: int) -> None:
    await upgrade(url)
    await load(url, studies)


def pages(target: Target, studies: int, calls: int, database: str) -> bool:
    """Measure the pages on a target whose index is filled."""
    met = True
    for name, address in PAGES.items():
        figures = timed(target, calls, lambda c, n, address=address: _page(c, address(n)))
        good = figures["p95_ms"] <= GOAL_MS
        met = met and good
        rounded = {key: round(value, 3) for key, value in figures.items()}
        line = {"figure": f"index_{name}", "database": database, "studies": studies, **rounded, "goal_p95_ms": GOAL_MS}
        print(json.dumps({**line, "met": good}), flush=True)
    return met


def _page(client: Client, address: str) -> bytes:
    return client.get(address, accept="application/json" if address.startswith("//") else "application/dicom+json")
