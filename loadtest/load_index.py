"""Fill an index with many studies, fast, by the same row functions that ingest uses: no object is stored, no event is written.

``python loadtest/load_index.py DATABASE_URL [--studies N]`` (an SQLAlchemy URL of a migrated database). Names are drawn from the
commonest Chinese family names with their real shares, and some Latin ones; dates are spread over ten years.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Table, insert, text
from sqlalchemy.ext.asyncio import create_async_engine

from consilium_archive.prepare import prepare
from consilium_archive.rows import Row, instance_row, series_row, study_row
from consilium_archive.stages import Received, Stored, Validated
from consilium_archive.tables import instance, series, study
from consilium_dicom.person_name import PersonName
from consilium_testkit.instances import ct_instance

TENANT = "demo"
_BATCH = 1000
# share of the population in percent (2020 census), then what is left
_FAMILIES = [
    "王",
    "李",
    "张",
    "刘",
    "陈",
    "杨",
    "黄",
    "赵",
    "吴",
    "周",
    "徐",
    "孙",
    "马",
    "朱",
    "胡",
    "郭",
    "何",
    "林",
    "罗",
    "高",
]
_SHARES = (7.2, 7.2, 6.8, 5.4, 4.5, 3.1, 2.2, 2.1, 1.9, 1.9, 1.4, 1.4, 1.3, 1.3, 1.2, 1.2, 1.2, 1.1, 1.1, 1.0)
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华文玉建国志小东晓红春海燕"
_LATIN = ("Smith^John", "Garcia^Maria", "Mueller^Hans", "Tanaka^Yuki=田中^由紀", "Kim^Minjun=김^민준", "Ivanova^Anna")
_MODALITIES = ("CT", "MR", "US", "DX", "CR", "MG", "XA", "ES", "PT", "OT")
_MODALITY_SHARES = (30, 20, 18, 14, 8, 4, 3, 2, 0.9, 0.1)
_WORDS = ("Chest", "Abdomen", "Head", "Knee", "Pelvis", "Heart", "Spine", "Neck", "Breast", "Whole body")


def drawn_name(chance: random.Random) -> PersonName:
    """Return a person's name as hospitals here write it."""
    if chance.random() < 0.1:
        return PersonName.parse(chance.choice(_LATIN))
    family = chance.choices(_FAMILIES, _SHARES)[0]
    given = "".join(chance.choice(_GIVEN) for _ in range(chance.choice((1, 2, 2, 2))))
    return (
        PersonName(ideographic=f"{family}^{given}", alphabetic="")
        if chance.random() < 0.5
        else PersonName(f"{family}{given}")
    )


def made(count: int, seed: int = 1) -> Iterator[Validated]:
    """Yield one validated instance of each study."""
    chance = random.Random(seed)
    like = prepare(Received(TENANT, ct_instance(side=16)))
    today = date(2024, 6, 1)
    for n in range(count):
        day = today - timedelta(days=chance.randrange(3650))
        uid = f"1.2.826.0.1.3680043.8.498.{seed}.{n}"
        header = replace(
            like.header, study_uid=uid, series_uid=f"{uid}.1", sop_instance_uid=f"{uid}.1.1",
            patient_id=f"P{chance.randrange(count):07d}", patient_name=drawn_name(chance),
            accession_number=f"A{day:%y%m%d}{n:06d}", study_date=f"{day:%Y%m%d}",
            study_time=f"{chance.randrange(7, 19):02d}{chance.randrange(60):02d}00",
            study_description=f"{chance.choice(_WORDS)} {chance.choice(('plain', 'contrast', 'follow-up'))}",
            modality=chance.choices(_MODALITIES, _MODALITY_SHARES)[0],
        )  # fmt: skip
        yield replace(like, header=header)


def rows_of(one: Validated, at: datetime) -> tuple[Row, Row, Row]:
    """Return the rows of a study with one instance."""
    of_study = study_row(one.header, TENANT, at) | {
        "modalities": f"\\{one.header.modality}\\", "sop_classes": f"\\{one.header.sop_class_uid}\\",
        "series_count": 1, "instance_count": 1,
    }  # fmt: skip
    return of_study, series_row(one.header, TENANT, 1, at), instance_row(Stored(one, ""), at)


async def load(url: str, count: int) -> None:
    """Insert ``count`` studies."""
    engine = create_async_engine(url)
    at = datetime.now(UTC)
    tables: tuple[Table, Table, Table] = (study, series, instance)
    try:
        source = made(count)
        left = count
        while left:
            size = min(left, _BATCH)
            rows = [rows_of(next(source), at) for _ in range(size)]
            async with engine.begin() as connection:
                for number, table in enumerate(tables):
                    await connection.execute(insert(table), [row[number] for row in rows])
            left -= size
        async with engine.connect() as connection:
            if connection.dialect.name == "postgresql":  # what autovacuum does a minute later
                alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await alone.execute(text("VACUUM (ANALYZE)"))
    finally:
        await engine.dispose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--studies", type=int, default=100_000)
    asked = parser.parse_args()
    asyncio.run(load(asked.url, asked.studies))
