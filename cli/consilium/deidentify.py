"""``consilium deidentify IN OUT``: files and folders by PS3.15 annex E; what it does stands in ``deidentify_work``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="File with the secret that makes pseudonyms; made when it is not there. Default: OUT/../deidentify.key. "
        "The same key gives the same patient the same pseudonym.",
    ),
]


def deidentify(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A DICOM file or a folder of them.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the new files; nothing there is replaced.")],
    options: Annotated[
        str,
        typer.Option(
            help="Comma-separated: clean-pixels, clean-features, clean-graphics, clean-structured, clean-descriptors, "
            "retain-dates or shift-dates, retain-patient, retain-device, retain-institution, retain-uids, "
            "retain-safe-private.",
        ),
    ] = "",
    profile: Annotated[
        list[Path] | None, typer.Option("--profile", help="JSON with a device's masks; may be given several times.")
    ] = None,
    key: KeyOption = None,
    shift_days: Annotated[
        int | None, typer.Option(help="Days for shift-dates; default: drawn for each patient.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Where the report (JSON) goes; default: OUT/report.json.")] = None,
) -> None:
    """De-identify; exit 3 when a person must look at some of the files before they leave the house, 1 if one failed."""
    from consilium.deidentify_work import Ask, run_deidentify

    ask = Ask(source, target, options, tuple(profile or ()), key, shift_days, report)
    raise SystemExit(run_deidentify(ask))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(deidentify)
