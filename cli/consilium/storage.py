"""The storage commands of the command line; what they do stands in ``storage_work``, imported when one is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of the embedded world; default: the last one used, else ./data.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")]
ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it; without this nothing is changed.")]

storage_app = typer.Typer(no_args_is_help=True, help="The object store: its places, second copies, drills.")


@storage_app.command("check")
def check(data: DataOption = None, json: JsonOption = False) -> None:
    """Ask both places whether they answer and stand as the settings ask; exit 1 and name what differs."""
    from consilium.storage_work import check_places

    raise SystemExit(check_places(data, as_json=json))


@storage_app.command("setup")
def setup(data: DataOption = None) -> None:
    """Bring the buckets to what the settings ask: versioning, object lock, lifecycle."""
    from consilium.storage_work import set_up_places

    raise SystemExit(set_up_places(data))


@storage_app.command("status")
def status(tenant: Annotated[str, typer.Option()] = "demo", data: DataOption = None) -> None:
    """Print a tenant's sums: copies, damage, removals, holds, the last scrub."""
    from consilium.storage_work import print_status

    raise SystemExit(print_status(tenant, data))


@storage_app.command("drill")
def drill(
    tenant: Annotated[str, typer.Option()] = "demo",
    study: Annotated[str, typer.Option(help="One study; default: the newest instances.")] = "",
    count: Annotated[int, typer.Option(min=1, help="At most so many instances.")] = 500,
    minutes: Annotated[float, typer.Option(min=0.01, help="For so long at most.")] = 10.0,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Read from the second place alone, as if the first were gone; exit 1 if something does not come back whole."""
    from consilium.storage_work import DrillAsk, run_drill

    raise SystemExit(run_drill(DrillAsk(tenant, study, count, minutes * 60), data, as_json=json))


def retain(
    apply: ApplyOption = False,
    tenant: Annotated[str, typer.Option(help="One tenant; default: all.")] = "",
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List what is past its retention rule and not held; with --apply remove it, leaving tombstones."""
    from consilium.storage_work import run_retain

    raise SystemExit(run_retain(tenant, data, apply=apply, as_json=json))


def scrub(
    everything: Annotated[bool, typer.Option("--all", help="Every original, not a thirtieth.")] = False,
    damaged: Annotated[bool, typer.Option("--damaged", help="Only what is marked as damaged.")] = False,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Read a thirtieth of the originals back, hash them, repair from the second copy; exit 1 if damage is left."""
    from consilium.storage_work import run_scrub

    raise SystemExit(run_scrub(data, everything=everything, damaged=damaged, as_json=json))


def reconcile(
    apply: ApplyOption = False,
    safe_age: Annotated[str, typer.Option(help="What is younger may still be on its way: 30m, 24h, 7d.")] = "24h",
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the index with the store both ways; exit 1 if they differ, 2 if a row has no whole object."""
    from consilium.storage_work import run_reconcile

    raise SystemExit(run_reconcile(safe_age, data, apply=apply, as_json=json))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(storage_app, name="storage")
    for command in (retain, scrub, reconcile):
        app.command()(command)
