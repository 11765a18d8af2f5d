"""The command line; each command imports its program only when it is called, so that a site host needs no server library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from consilium import deidentify, import_files
from consilium.storage import register
from consilium_core.errors import ConsiliumError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
site_app = typer.Typer(no_args_is_help=True, help="The hospital side: an agent that opens only outbound connections.")
app.add_typer(site_app, name="site")

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of the embedded world; default: the last one used, else ./data.")
]

DicomPortOption = Annotated[
    int | None,
    typer.Option(
        "--dicom-port",
        min=1,
        max=65535,
        help="Port for DICOM C-STORE, C-ECHO and storage commitment (ingest); default: none is opened.",
    ),
]


@app.command()
def up(
    data: Annotated[Path, typer.Option("--data", help="Folder of the data; made when it is not there.")] = Path("data"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the one door; live media uses the same UDP port.")
    ] = 8080,
    demo: Annotated[bool, typer.Option(help="Run a demo hospital and seed demo data.")] = True,
    source: Annotated[
        str, typer.Option(help="Capture source of the demo hospital: demo, a device index, a file or a URL.")
    ] = "demo",
    web: Annotated[Path | None, typer.Option(help="Folder of the built web client.")] = None,
    dicom_port: DicomPortOption = None,
) -> None:
    """Start every service on this machine with embedded defaults, and a demo hospital as a process of its own."""
    from consilium.up import UpOptions, run_up

    options = UpOptions(data=data, host=host, port=port, demo=demo, source=source, web_dist=web, dicom_port=dicom_port)
    raise SystemExit(run_up(options))


@app.command()
def serve(
    service: Annotated[str, typer.Argument(help="gateway, ingest, imaging, live or consult")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 - a pod's own address
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
    dicom_port: DicomPortOption = None,
) -> None:
    """Run one service of a cluster; its settings come from the environment."""
    from consilium.serve import run_service

    raise SystemExit(run_service(service, host=host, port=port, dicom_port=dicom_port))


@app.command()
def migrate(revision: Annotated[str, typer.Argument()] = "head") -> None:
    """Bring the database to a revision (the cluster's migration job)."""
    from consilium.ops import run_migrations

    run_migrations(revision)


@app.command()
def token(
    user: Annotated[str, typer.Option(help="Username, for example operator or specialist.")],
    ttl: Annotated[str, typer.Option(help="How long it lives: 30s, 10m; at most 15m.")] = "10m",
    data: DataOption = None,
) -> None:
    """Print a bearer token of a user of the embedded default (needs to read its key file)."""
    from consilium.ops import print_token

    print_token(user, ttl, data)


@app.command()
def user(
    username: Annotated[str, typer.Argument(help="The name that the person signs in with.")],
    role: Annotated[str, typer.Option(help="operator, specialist, reviewer, trainee, referrer, qc, itsec or admin")],
    name: Annotated[str, typer.Option(help="The person's name; default: the username.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose person it is.")] = "demo",
    data: DataOption = None,
) -> None:
    """Make an account, or bring it to this role; the password is the first line of standard input."""
    from consilium.ops import save_user

    save_user(username, role, name or username, tenant, data)


@app.command()
def keys(
    folder: Annotated[
        Path, typer.Argument(help="Where users.json, services.json, receipts.json and verify.json are written.")
    ],
) -> None:
    """Make the key files that a cluster's secret holds; those that are there already stay."""
    from consilium_platform.tokens import ensure_embedded_keys

    ensure_embedded_keys(folder)
    typer.echo(f"Keys are in {folder}.")


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of all services."""
    from consilium.ops import print_openapi

    print_openapi()


@app.command(name="verify-audit")
def verify_audit(
    tenant: Annotated[str, typer.Option()] = "demo",
    data: DataOption = None,
) -> None:
    """Walk the audit chain; exit 1 and name the first bad entry if it is broken."""
    from consilium.ops import verify_audit as verify

    raise SystemExit(verify(tenant, data))


@app.command(name="verify-receipt")
def verify_receipt(
    receipt: Annotated[Path, typer.Argument(help="A storage receipt: the JSON document, or its JWS alone.")],
    keys_file: Annotated[
        Path | None, typer.Option("--keys", help="Public keys (verify.json); default: those of the data folder.")
    ] = None,
    data: DataOption = None,
) -> None:
    """Check a storage receipt without any server; exit 0: genuine and all is kept, 3: genuine but something is not, 1: not genuine."""
    from consilium.receipts import verify

    raise SystemExit(verify(receipt, keys_file, data))


@app.command()
def doctor(data: DataOption = None) -> None:
    """Ask every dependency of this process's settings whether it answers."""
    from consilium.ops import doctor as ask

    raise SystemExit(ask(data))


@app.command()
def cluster(namespace: Annotated[str, typer.Option(help="Namespace of the release.")] = "consilium") -> None:
    """List the release's workloads on a Kubernetes cluster and say what is not ready."""
    from consilium.cluster import print_workloads

    raise SystemExit(print_workloads(namespace))


ServerOption = Annotated[str | None, typer.Option(help="URL of the gateway.")]
StateOption = Annotated[Path | None, typer.Option(help="Folder of the agent's identity and spool.")]
CodeOption = Annotated[str | None, typer.Option(help="One-time enrolment code (first start only).")]
SourceOption = Annotated[str | None, typer.Option(help="Device index, file, URL or demo.")]


def _site_settings(
    server: str | None = None, state_dir: Path | None = None, code: str | None = None, source: str | None = None
) -> Any:
    from consilium_site.settings import SiteSettings

    given: dict[str, Any] = {"server_url": server, "state_dir": state_dir, "enrolment_code": code, "source": source}
    return SiteSettings(**{name: value for name, value in given.items() if value is not None})


@site_app.command("run")
def site_run(
    server: ServerOption = None, state_dir: StateOption = None, code: CodeOption = None, source: SourceOption = None
) -> None:
    """Run the agent; what is not given comes from CONSILIUM_SITE_* variables."""
    from consilium_site.app import main as run_agent

    raise SystemExit(run_agent(_site_settings(server, state_dir, code, source)))


@site_app.command("enroll")
def site_enroll(server: ServerOption = None, state_dir: StateOption = None, code: CodeOption = None) -> None:
    """Trade the one-time code for an identity and end."""
    from consilium_site.app import enroll

    raise SystemExit(enroll(_site_settings(server, state_dir, code)))


@site_app.command("status")
def site_status(state_dir: StateOption = None) -> None:
    """Say what this host's agent knows: identity, spool, streams; needs no network."""
    from consilium_site.app import status

    raise SystemExit(status(_site_settings(state_dir=state_dir)))


register(app)
deidentify.register(app)
import_files.register(app)


def main() -> None:
    """Run the command line; our own errors are one clear sentence on stderr."""
    try:
        app()
    except ConsiliumError as problem:
        sys.stderr.write(f"consilium: {problem.detail}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
