"""``consilium import PATH...``: folders, ZIP archives and media; what it does stands in ``import_work``, imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_files(
    paths: Annotated[list[Path], typer.Argument(help="Folders, ZIP archives, DICOMDIRs or DICOM files.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Folder of the embedded world, while no server runs on it; default: the last one used."
        ),
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="URL of a running server instead; the bearer token is in CONSILIUM_TOKEN.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Whose archive; with --server the token says it.")] = "demo",
    jobs: Annotated[int, typer.Option(min=1, max=32, help="Files (with --server: requests) worked on at once.")] = 2,
    preview: Annotated[bool, typer.Option("--preview", help="Say what would happen; nothing is stored.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Where the report (JSON) goes; default: imports/ in the data folder, else here.")
    ] = None,
) -> None:
    """Import DICOM files; exit 0 when everything is in, 1 when something was refused or held: the report names each and who can mend it.

    After an interruption the same command goes on where it stood.
    """
    from consilium.import_work import Ask, run_import_command

    ask = Ask(tuple(paths), data, server, tenant, jobs, preview=preview, as_json=json, report=report)
    raise SystemExit(run_import_command(ask))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(name="import")(import_files)
