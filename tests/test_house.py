"""The house's rules as tests: plan, names, sizes, locks, licences, one history of migrations."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from consilium_platform.migrate import alembic_config

ROOT = Path(__file__).parent.parent
PRODUCT = sorted(
    path
    for folder in ("cli", "libs", "services")
    for path in (ROOT / folder).rglob("*.py")
    if "node_modules" not in path.parts
)


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_the_plan_stands_as_its_user_asked() -> None:
    for place in (
        "charts",
        "services/ingest",
        "services/live",
        "services/consult",
        "services/gateway",
        "infra",
        "loadtest",
        "tests",
        "README.md",
    ):
        assert (ROOT / place).exists(), place


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_locks_pin_hashes_and_name_no_host() -> None:
    for lock in ("runtime", "build", "dev"):
        text = (ROOT / "requirements" / f"{lock}.txt").read_text()
        assert not re.search(r"https?://|--index-url|--find-links|--trusted-host|@ file:", text), lock
        pinned = re.findall(r"^[a-z0-9][\w.\-]*==", text, re.MULTILINE)
        assert len(pinned) > 2
        assert text.count("--hash=sha256:") >= len(pinned)
    packages = json.loads((ROOT / "web" / "package-lock.json").read_text())["packages"]
    assert not [name for name, facts in packages.items() if "resolved" in facts and "://" in str(facts["resolved"])]


KNOWN_HOSTS = {
    "www.w3.org", "json-schema.org", "www.apache.org", "tus.io", "github.com", "go.dev", "eslint.org", "opencollective.com",
    "tidelift.com", "localhost",
}  # fmt: skip


def test_files_name_only_known_hosts_and_no_folder_of_a_developers_machine() -> None:
    """Locks and scripts work with whatever registry a machine is set up for; nothing here may point at one."""
    host = re.compile(r"https?://([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)")
    folders = (str(ROOT.parent) + "/", str(Path.home()) + "/.pyenv")
    found = []
    for path in tracked():
        if path.suffix in {".png", ".jpg", ".ttf", ".woff2"}:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            names = [name for name in host.findall(line) if name not in KNOWN_HOSTS]
            strange = [
                n for n in names if not re.search(r"(^|\.)(example(\.org|\.com|\.net)?|test|internal)$|^[\d.]+$", n)
            ]
            if strange or any(folder in line for folder in folders if len(folder) > 4):
                found.append(f"{path.relative_to(ROOT)}:{number}: {strange}")
    assert found == []


def test_no_dicom_file_is_committed() -> None:
    assert [p for p in tracked() if p.suffix == ".dcm" or p.read_bytes()[128:132] == b"DICM"] == []


def test_files_can_be_read_at_one_sitting() -> None:
    long = {str(p.relative_to(ROOT)): n for p in PRODUCT if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(p.relative_to(ROOT))
        for p in PRODUCT
        if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert silent == []


def test_no_task_is_started_and_forgotten() -> None:
    """A task whose handle is dropped can vanish and swallow its error."""
    bare = []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                name = (
                    node.value.func.attr
                    if isinstance(node.value.func, ast.Attribute)
                    else getattr(node.value.func, "id", "")
                )
                # a TaskGroup keeps its tasks; every other create_task must be held
                owner = ast.unparse(node.value.func.value) if isinstance(node.value.func, ast.Attribute) else ""
                if name in {"create_task", "ensure_future"} and "group" not in owner and "tasks" not in owner:
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert bare == []


def test_no_error_is_swallowed() -> None:
    """``except Exception: pass`` hides what somebody should mend."""
    silent = []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and all(isinstance(s, ast.Pass) for s in node.body):
                kind = ast.unparse(node.type) if node.type is not None else "everything"
                if kind in {"everything", "Exception", "BaseException"}:
                    silent.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert silent == []


def test_no_error_is_suppressed_whatever_it_is() -> None:
    """``suppress(Exception)`` is ``except Exception: pass`` under another name."""
    broad = []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"suppress", "contextlib.suppress"}:
                kinds = {ast.unparse(argument) for argument in node.args}
                if kinds & {"Exception", "BaseException"}:
                    broad.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert broad == []


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)", text) + re.findall(r"(?:src|href)=\"([^\"#]+)\"", text)
    lost = [
        t for t in targets if "://" not in t and not t.startswith("mailto:") and not ((ROOT / page).parent / t).exists()
    ]
    assert lost == []


def test_migrations_are_one_line_of_history() -> None:
    script = ScriptDirectory.from_config(alembic_config())
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1
    assert all(len(revision.nextrev) <= 1 for revision in script.walk_revisions())


@pytest.mark.parametrize("service", ["gateway", "ingest", "imaging", "live", "consult", "site"])
def test_every_service_explains_itself(service: str) -> None:
    text = (ROOT / "services" / service / "README.md").read_text()
    assert len(text.split()) > 80
    assert f"CONSILIUM_{service.upper()}_" in text


def test_tests_wait_for_conditions_not_for_time() -> None:
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep":
                argument = node.args[0] if node.args else None
                if (
                    isinstance(argument, ast.Constant)
                    and isinstance(argument.value, int | float)
                    and argument.value > 0.25
                ):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
