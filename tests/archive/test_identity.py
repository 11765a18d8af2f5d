"""One study, one person: who contradicts it is held, what may be a typo warns, and neither costs a statement per instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from consilium_archive import identity
from consilium_archive.errors import InstanceHeld
from consilium_archive.identity import Person, contradict, differences
from consilium_archive.reader import ArchiveReader, Scope
from consilium_archive.stages import Indexed, Received
from consilium_archive.writer import ArchiveWriter, WriterLimits, open_writer
from consilium_core.ids import new_uid
from consilium_dicom.policy import DEFAULT_POLICY, Policy
from consilium_platform.hot import Hot
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance

LI = {"PatientID": "PM1", "PatientName": "Li^Ming=李^明", "PatientBirthDate": "19500101", "PatientSex": "M"}


async def codes_of(writer: ArchiveWriter, **attributes: Any) -> list[str]:
    """Store one object and return the codes of its warnings."""
    indexed = await writer.store(Received("demo", ct_instance(side=16, **{**LI, **attributes})))
    assert indexed.fresh
    return [one.code for one in indexed.warnings]


async def held_for(writer: ArchiveWriter, **attributes: Any) -> list[tuple[str, str]]:
    """Return code and element of what holds one object."""
    with pytest.raises(InstanceHeld) as held:
        await writer.store(Received("demo", ct_instance(side=16, **{**LI, **attributes})))
    return [(one["code"], one["tag_path"]) for one in held.value.findings if one["code"] == "identity-differs"]


@pytest.mark.parametrize(
    ("other", "where"),
    [
        (
            {"PatientName": "Zhao^Yun", "PatientBirthDate": "19990101", "PatientSex": "F"},
            ["(0010,0030)", "(0010,0040)", "(0010,0010)"],
        ),
        ({"PatientBirthDate": "19500102"}, ["(0010,0030)"]),
        ({"PatientSex": "F"}, ["(0010,0040)"]),
        ({"PatientID": "", "PatientName": "Zhao^Yun", "PatientBirthDate": "", "PatientSex": ""}, ["(0010,0010)"]),
    ],
)
async def test_another_person_is_held_whatever_patient_id_it_names(
    writer: ArchiveWriter, reader: ArchiveReader, other: dict[str, str], where: list[str]
) -> None:
    study = new_uid()
    await codes_of(writer, StudyInstanceUID=study)
    assert await held_for(writer, StudyInstanceUID=study, **other) == [("identity-differs", path) for path in where]
    assert len(await reader.places("demo", Scope(study))) == 1


@pytest.mark.parametrize(
    ("other", "warned"),
    [
        ({"PatientName": "LI^MING^^^"}, []),
        ({"PatientName": "li ming"}, []),
        ({"PatientName": "Li^Ming^Da"}, []),
        ({"PatientName": "Lee^Ming=李^明"}, []),
        ({"PatientName": "李^明"}, []),
        ({"PatientName": ""}, []),
        ({"PatientBirthDate": ""}, []),
        ({"PatientSex": "O"}, []),
        ({"PatientSex": ""}, []),
        ({"PatientID": ""}, []),
        ({"PatientID": "", "PatientName": "Wang^Ming"}, ["name-differs"]),
        ({"PatientName": "Wang^Ming"}, ["name-differs"]),
        ({"PatientName": "Li^Ming=李^鸣"}, ["name-differs"]),
    ],
)
async def test_a_spelling_or_a_name_alone_never_holds(
    writer: ArchiveWriter, other: dict[str, str], warned: list[str]
) -> None:
    study = new_uid()
    await codes_of(writer, StudyInstanceUID=study)
    found = await codes_of(writer, StudyInstanceUID=study, **other)
    assert [code for code in found if code.endswith("-differs")] == warned


async def test_another_person_that_only_the_commit_meets_is_held(writer: ArchiveWriter) -> None:
    """Both are stored before either is indexed: the group commit decides."""
    study = new_uid()
    both = [ct_instance(side=16, **{**LI, "StudyInstanceUID": study, "PatientSex": sex}) for sex in "MF"]
    stored = [one for data in both if not isinstance(one := await writer.hold(Received("demo", data)), Indexed)]
    first, second = await writer.index_all(stored)
    assert isinstance(first, Indexed)
    assert isinstance(second, InstanceHeld)
    assert second.findings[0]["code"] == "identity-differs"


async def test_who_is_released_is_not_held_again(writer: ArchiveWriter) -> None:
    study = new_uid()
    await codes_of(writer, StudyInstanceUID=study)
    other = ct_instance(side=16, **{**LI, "StudyInstanceUID": study, "PatientSex": "F"})
    released = await writer.store(Received("demo", other, cleared=True))
    assert "identity-differs" in [one.code for one in released.warnings]


async def test_what_the_policy_does_not_hold_is_a_warning_and_what_it_adds_is_held(any_platform: Platform) -> None:
    lenient = Policy(DEFAULT_POLICY.hold - {"identity-differs"})
    strict = Policy(DEFAULT_POLICY.hold | {"name-differs"})
    for policy, held in ((lenient, False), (strict, True)):
        limits, study = WriterLimits(policy=policy), new_uid()
        async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox, limits) as writer:
            await codes_of(writer, StudyInstanceUID=study)
            if held:
                with pytest.raises(InstanceHeld):
                    await codes_of(writer, StudyInstanceUID=study, PatientName="Wang^Ming")
            else:
                assert "identity-differs" in await codes_of(writer, StudyInstanceUID=study, PatientSex="F")


async def test_a_patient_id_of_two_people_and_a_series_of_two_kinds_or_studies_warn(writer: ArchiveWriter) -> None:
    study, series = new_uid(), new_uid()
    place = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    assert await codes_of(writer, **place) == []
    assert await codes_of(writer, StudyInstanceUID=new_uid()) == [], "the same person once more"
    assert await codes_of(writer, PatientSex="F") == ["patient-id-shared"]
    assert await codes_of(writer, IssuerOfPatientID="Other", PatientID="PM2", PatientSex="F") == []
    assert await codes_of(writer, IssuerOfPatientID="Mine", PatientID="PM2") == [], "another issuer's id"
    assert await codes_of(writer, **place, Modality="MR") == ["series-differs"]
    assert await codes_of(writer, **place) == []
    assert await codes_of(writer, SeriesInstanceUID=series, PatientID="PM3") == ["series-differs"]


async def test_an_instance_of_a_known_series_costs_no_statement_more(
    any_platform: Platform, writer: ArchiveWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Hot] = []

    def spy(kind: str) -> Callable[..., Any]:
        plain = getattr(Hot, kind)

        def run(self: Hot, *given: Any) -> Any:
            asked.append(self)
            return plain(self, *given)

        return run

    place = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    await codes_of(writer, **place)
    for kind in ("run", "each"):
        monkeypatch.setattr(Hot, kind, spy(kind))
    await codes_of(writer, **place)
    assert len(asked) > 4
    assert not {identity._OF_ONE_ID, identity._ELSEWHERE} & set(asked)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("Wang^Xiaodong", "WANG^XIAO DONG", False),
        ("Wang^Xiaodong", "Xiaodong^Wang", False),
        ("Wang^Xiao-dong^^Dr", "Wang^Xiaodong", False),
        ("Smith^John^Q", "Smith^John", False),
        ("Smith^John", "Smith^J", False),
        ("Müller^Anna", "MULLER^ANNA", False),
        ("O'Neil^Pat", "ONEIL^PAT", False),
        ("Wang^Da=王^大", "Wang^Da", False),
        ("王^大", "Wang^Da=王^大", False),
        ("", "Wang^Da", False),
        ("Wang^Da", "Wang^Daming", True),
        ("Wang^Da=王^大", "Wang^Da=王^达", True),
        ("Wang^Da", "Zhao^Da", True),
    ],
)
def test_names_are_compared_as_people_write_them(one: str, other: str, apart: bool) -> None:
    assert contradict(one, other) is apart
    assert contradict(other, one) is apart


def test_only_whole_dates_and_stated_sexes_contradict() -> None:
    mine = Person("P1", "", "A^B", "19500101", "M")
    for birth_date, sex in (("1950", "M"), ("1950.01.01", "m"), ("unknown", "X"), ("", "")):
        assert differences(mine, Person("P1", "", "A^B", birth_date, sex)) == ()
