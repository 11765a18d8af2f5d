"""An import stores: every file gets its answer, here or on a server, and what was interrupted goes on."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from consilium.import_server import ServerAway, StoreThere, requests
from consilium.import_work import Ask, run_import_command
from consilium.up import FolderTaken, hold_folder
from consilium_archive.identity import Person
from consilium_archive.stages import Indexed
from consilium_archive.writer import open_writer
from consilium_core.errors import Unauthenticated
from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_ingest.importing.here import StoreHere
from consilium_ingest.importing.journal import digest, open_journal
from consilium_ingest.importing.outcomes import Answer, Tally
from consilium_ingest.importing.run import run_import
from consilium_ingest.importing.sources import Found, Walker
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import ct_instance, uids_of
from consilium_testkit.packs import files_below, zipped
from consilium_testkit.platforms import bearer

Capture = pytest.CaptureFixture[str]


# -- storing -------------------------------------------------------------------------------------------------------


async def test_every_file_gets_its_answer_and_what_is_stored_and_refused_is_audited(
    any_platform: Platform, tmp_path: Path
) -> None:
    made = files_below(tmp_path / "in", 3)
    (tmp_path / "in" / "short").write_bytes(ct_instance(side=64)[:-100])
    (tmp_path / "in" / "other").write_bytes(
        ct_instance(side=16, seed=9, SOPInstanceUID=uids_of(next(iter(made.values())))[2])
    )
    tally = Tally()
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox) as writer:
        sink = StoreHere(writer, any_platform.audit, "demo", "command line of test", 2, 4 << 30)
        for _ in range(2):
            walker = Walker(tmp_path)
            await run_import(walker, walker.walk([tmp_path / "in"]), sink, None, tally, lambda: None)
    assert (tally.counts["stored"], tally.counts["already"], tally.counts["refused"]) == (3, 3, 4)
    codes = {Path(one.name).name: (one.code, [f["code"] for f in one.findings][:1], one.mend) for one in tally.missing}
    assert codes["short"] == ("instance-rejected", ["pixel-data-truncated"], "caller")
    assert codes["other"][0] == "instance-conflict"
    entries = await any_platform.audit.search("demo", action="instance.store")
    assert {(one["actor"], one["role"]) for one in entries} == {("command line of test", "command-line")}
    assert [str(one["detail"]).split(" (")[0] for one in entries] == [
        "imported 0, refused 2: instance-conflict, instance-rejected",
        "imported 3, refused 2: instance-conflict, instance-rejected",
    ] * 2
    assert (await any_platform.audit.verify("demo")).ok


@pytest.fixture
def data(tmp_path: Path, migrated_file: Path) -> Path:
    """Return the data folder of an embedded world."""
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copyfile(migrated_file, folder / "consilium.db")
    return folder


def run(paths: Sequence[Path], data: Path | None, report: Path, **more: Any) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit status and its report."""
    given = {"server": None, "tenant": "demo", "jobs": 2, "preview": False, "as_json": False, **more}
    status = run_import_command(Ask(tuple(paths), data, report=report, **given))
    return status, json.loads(report.read_text())


LONG = {
    "PatientID": "HOSPITAL-NORTH-" + "0123456789" * 4,
    "PatientName": "Featherstonehaugh-Cholmondeley^Maximiliana Alexandrina",
    "StudyDescription": "Thorax, upper abdomen and pelvis, three phases, with",
}


@pytest.mark.parametrize("terminal", [False, True])
def test_a_preview_cuts_nothing_of_a_name_or_an_id(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").write_bytes(ct_instance(side=8, **LONG))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    run([tmp_path / "in"], data, tmp_path / "report.json", preview=True)
    said = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in said
    if terminal:
        cells = [line.split("\N{BOX DRAWINGS LIGHT VERTICAL}") for line in said.splitlines()]
        assert "".join(cell[1].strip() for cell in cells if len(cell) > 8) == LONG["PatientID"]
    else:
        [line] = [line for line in said.splitlines() if LONG["PatientID"] in line]
        assert LONG["StudyDescription"] in line
        assert "Featherstonehaugh-Cholmondeley" in line


def test_an_import_is_previewed_stored_and_known_again(
    data: Path, tmp_path: Path, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    made = files_below(tmp_path / "in", 5)
    pack = tmp_path / "more.zip"
    pack.write_bytes(zipped({"same": next(iter(made.values())), "new": ct_instance(side=16, PatientID="P2")}))
    report = tmp_path / "report.json"
    status, said = run([tmp_path / "in", pack], data, report, preview=True)
    assert (status, said["counts"]["stored"], said["counts"]["already"]) == (0, 6, 1)
    assert [(one["patient_id"], len(one["studies"])) for one in said["patients"]] == [("P1", 1), ("P2", 1)]
    [series] = said["patients"][0]["studies"][0]["series"]
    assert (series["modality"], series["instances"], series["already"]) == ("CT", 6, 1)
    assert "小东" in capsys.readouterr().out  # the preview is for a person's eyes
    status, said = run([tmp_path / "in"], data, report)
    assert (status, said["counts"]["stored"], said["complete"], said["not_in"]) == (0, 5, True, [])
    status, said = run([tmp_path / "in", pack], data, report, preview=True)
    assert (status, said["counts"]["stored"], said["counts"]["already"]) == (0, 1, 6)
    capsys.readouterr()
    status, said = run([tmp_path / "in", pack], data, report)
    assert (status, said["counts"]["stored"], said["counts"]["already"]) == (0, 1, 6)
    printed = capsys.readouterr()
    assert "小东" not in printed.out + printed.err + caplog.text + report.read_text()
    assert [path.name for path in (data / "imports").iterdir()] == []  # no journal, no copies are left


def test_what_is_refused_is_named_with_codes_and_who_can_mend_it(data: Path, tmp_path: Path, capsys: Capture) -> None:
    files_below(tmp_path / "in", 1)
    (tmp_path / "in" / "short").write_bytes(ct_instance(side=64, PatientID="")[:-100])
    (tmp_path / "in" / "future").write_bytes(ct_instance(side=16, PatientBirthDate="29990101"))
    report = tmp_path / "report.json"
    for preview in (True, False):
        status, said = run([tmp_path / "in"], data, report, preview=preview)
        assert (status, said["counts"]["stored"], said["counts"]["refused"], said["counts"]["held"]) == (1, 1, 1, 1)
        refused = {Path(one["file"]).name: one for one in said["not_in"]}
        [finding, *_] = refused["short"]["findings"]
        assert (finding["code"], finding["mend"], bool(finding["text_zh"])) == ("pixel-data-truncated", "caller", True)
        assert "birth-date-future" in [one["code"] for one in refused["future"]["findings"]]
        printed = capsys.readouterr().out
        assert f"refused: {tmp_path / 'in' / 'short'}" in printed
        assert "mended by: caller]" in printed, "not by whoever could mend what only warns"
        assert (refused["short"]["mend"], refused["future"]["mend"]) == ("caller", "operator")
    status, _ = run([tmp_path / "work-nothing", tmp_path / "in"][1:], data, report, as_json=True)
    assert json.loads(capsys.readouterr().out)["counts"]["already"] == 1


def test_a_preview_holds_another_person_of_a_study_as_the_import_does(data: Path, tmp_path: Path) -> None:
    study = new_uid()
    people = ({}, {"PatientName": "Wang^Da"}, {"PatientSex": "F"}, {"PatientID": "P2"})
    (tmp_path / "in").mkdir()
    for number, person in enumerate(people):
        file = tmp_path / "in" / str(number)
        file.write_bytes(ct_instance(side=16, StudyInstanceUID=study, InstanceNumber=number, **person))
    for preview in (True, False, True):
        _, said = run([tmp_path / "in"], data, tmp_path / "report.json", preview=preview)
        held = {Path(one["file"]).name: one["findings"][0]["code"] for one in said["not_in"] if one["ending"] == "held"}
        assert held == {"2": "identity-differs", "3": "patient-mismatch"}
        assert said["warnings"].get("name-differs", 0) == (1 if said["counts"]["stored"] else 0)


def test_a_folder_on_which_a_server_runs_is_left_alone(data: Path, tmp_path: Path) -> None:
    files_below(tmp_path / "in", 1)
    with hold_folder(data), pytest.raises(FolderTaken, match="--server"):
        run([tmp_path / "in"], data, tmp_path / "report.json")
    with hold_folder(data):
        assert run([tmp_path / "in"], data, tmp_path / "report.json", preview=True)[0] == 0
    with pytest.raises(Unauthenticated, match="CONSILIUM_TOKEN"):
        run([tmp_path / "in"], None, tmp_path / "report.json", server="http://127.0.0.1:1")


# -- going on ------------------------------------------------------------------------------------------------------


class Halting:
    """A sink that stores its first batches and then fails, as a cancelled process would."""

    def __init__(self, sink: StoreHere, batches: int) -> None:
        self._sink, self._left = sink, batches

    async def store(self, batch: Sequence[Found]) -> list[Answer]:
        if not self._left:
            raise InterruptedError
        self._left -= 1
        return await self._sink.store(batch)


async def test_an_interrupted_import_goes_on_and_leaves_no_copies(platform: Platform, tmp_path: Path) -> None:
    pack, work, place = tmp_path / "pack.zip", tmp_path / "work", tmp_path / "journal"
    work.mkdir()
    pack.write_bytes(zipped({f"{n}": ct_instance(side=8, InstanceNumber=n) for n in range(150)}))
    async with open_writer(platform.database, platform.blobs, platform.outbox) as writer:
        sink = StoreHere(writer, platform.audit, "demo", "test", 2, 4 << 30)
        first, second = Tally(), Tally()
        with open_journal(place) as journal:
            walker = Walker(work)
            with pytest.raises(InterruptedError):
                await run_import(walker, walker.walk([pack]), Halting(sink, 1), journal, first, lambda: None)
        assert list(work.iterdir()) == []
        with place.open("a") as file:
            file.write('"cut off by the en')
        with open_journal(place) as journal:
            walker = Walker(work)
            await run_import(walker, walker.walk([pack]), sink, journal, second, lambda: None)
    assert (first.counts["stored"], second.counts["resumed"], second.counts["stored"]) == (64, 64, 86)
    assert list(work.iterdir()) == []


def test_the_journal_knows_only_the_very_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    found = Found(str(path), path, 3, 7)
    with open_journal(tmp_path / "journal") as journal:
        journal.add([(found, digest(path))])
    with open_journal(tmp_path / "journal") as journal:
        assert journal.knows(found, digest(path))
        path.write_bytes(b"two")
        assert not journal.knows(found, digest(path))
        journal.remove()
    with open_journal(tmp_path / "journal") as journal:
        assert not journal.knows(found, digest(path))


# -- over a server -------------------------------------------------------------------------------------------------


async def found_files(work: Path, root: Path) -> list[Found]:
    return [one for one in Walker(work).walk([root]) if isinstance(one, Found)]


async def test_a_server_answers_for_each_file(client: httpx2.AsyncClient, door: Door, tmp_path: Path) -> None:
    made = files_below(tmp_path / "in", 40)
    first = next(iter(made.values()))
    (tmp_path / "in" / "a-short").write_bytes(ct_instance(side=64)[:-100])
    (tmp_path / "in" / "b-garbage").write_bytes(bytes(128) + b"DICM" + b"garbage" * 40)
    (tmp_path / "in" / "c-held").write_bytes(ct_instance(side=16, PatientBirthDate="29990101"))
    (tmp_path / "in" / "d-other").write_bytes(ct_instance(side=16, seed=9, SOPInstanceUID=uids_of(first)[2]))
    there = StoreThere(client, 1)
    tally = Tally()
    walker = Walker(tmp_path)
    await run_import(walker, walker.walk([tmp_path / "in"]), there, None, tally, lambda: None)
    assert (tally.counts["stored"], tally.counts["refused"], tally.counts["held"]) == (40, 3, 1)
    ended = {Path(one.name).name: (one.code, [found["code"] for found in one.findings][:1]) for one in tally.missing}
    assert ended["a-short"] == ("instance-rejected", ["pixel-data-truncated"])
    assert ended["b-garbage"][0] == "instance-rejected"
    assert ended["c-held"][0] == "instance-held"
    assert ended["d-other"][0] == "instance-conflict"
    told = {Path(one.name).name: one for one in tally.missing}
    assert "像素数据" in told["a-short"].findings[0]["text_zh"], "the server's words, in both languages"
    assert told["c-held"].findings[0]["mend"] == "operator"
    uids = [uids_of(file)[2] for file in made.values()]
    assert set(await there.instances(uids)) == set(uids)
    person = Person("P1", "", "Wang^Xiaodong=王^小东", "19600203", "M")
    assert dict(await there.patients([uids_of(first)[0]])) == {uids_of(first)[0]: person}


def test_requests_are_bounded_and_hold_no_instance_twice() -> None:
    def file(size: int) -> Found:
        return Found("x", Path("x"), size, 0)

    assert requests([file(1)] * 70, [str(n) for n in range(70)]) == [
        list(range(32)), list(range(32, 64)), list(range(64, 70))
    ]  # fmt: skip
    assert requests([file(12 << 20)] * 3, ["1", "2", "3"]) == [[0], [1], [2]]
    assert requests([file(1)] * 4, ["1", "", "1", "2"]) == [[1], [0], [2, 3]]


def answering(statuses: Iterator[int]) -> httpx2.AsyncClient:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(next(statuses), json={}))
    return httpx2.AsyncClient(transport=transport, base_url="http://archive.test")


async def test_a_busy_server_is_asked_again_and_one_that_stays_away_ends_the_import(tmp_path: Path) -> None:
    files_below(tmp_path / "in", 1)
    files = await found_files(tmp_path, tmp_path / "in")
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with answering(iter([503, 429, 507])) as client:
        [answer] = await StoreThere(client, 1, pause).store(files)
        assert not isinstance(answer, Indexed)
        assert (answer.code, pauses) == ("server-refused", [2.0, 4.0])
    async with answering(iter([503] * 5)) as client:
        with pytest.raises(ServerAway, match="goes on where it stood"):
            await StoreThere(client, 1, pause).store(files)
    async with answering(iter([401])) as client:
        with pytest.raises(Unauthenticated, match="consilium token"):
            await StoreThere(client, 1, pause).store(files)


async def test_a_tokens_role_and_tenant_decide(any_platform: Platform, tmp_path: Path) -> None:
    files_below(tmp_path / "in", 1)
    files = await found_files(tmp_path, tmp_path / "in")
    async with archive_door(any_platform) as door:
        async with door_client(door, bearer(any_platform, Role.OPERATOR, tenant="north")) as client:
            assert isinstance((await StoreThere(client, 1).store(files))[0], Indexed)
        uid = uids_of(files[0].path.read_bytes())[2]
        for tenant, known in (("north", {uid: ""}), ("south", {})):
            async with door_client(door, bearer(any_platform, Role.OPERATOR, tenant=tenant)) as client:
                assert dict(await StoreThere(client, 1).instances([uid])) == known
        async with door_client(door, bearer(any_platform, Role.TRAINEE)) as client:
            with pytest.raises(Exception, match="may not store"):
                await StoreThere(client, 1).store(files)
