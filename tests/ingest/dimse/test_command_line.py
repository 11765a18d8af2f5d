"""``--dicom-port`` on the command line: the door is there when it is asked for, and only for ingest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consilium.serve import run_service
from consilium_core.errors import Invalid
from consilium_testkit.instances import ct_instance
from consilium_testkit.servers import free_port, need, wait_for
from consilium_testkit.system import running_system


def sent(program: str, port: int, *arguments: str | Path) -> bool:
    """Tell whether dcmtk's program ends well."""
    command = [need(program, "dcmtk"), *map(str, arguments[1:]), "127.0.0.1", str(port), *map(str, arguments[:1])]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0


@pytest.mark.system
def test_up_opens_the_door_that_it_is_asked_for(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "ct.dcm"
    file.write_bytes(ct_instance(side=32))
    with running_system(tmp_path / "data", "--no-demo", "--dicom-port", str(port), wait_live=False) as system:
        assert sent("echoscu", port)
        assert sent("storescu", port, file)
        assert f"DICOM C-STORE is at 127.0.0.1:{port}" in system.lines
    assert not sent("echoscu", port)


@pytest.mark.system
def test_serve_ingest_opens_it_for_one_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_PLATFORM_DATA_DIR", str(tmp_path))
    consilium = [sys.executable, "-m", "consilium"]
    subprocess.run([*consilium, "migrate"], check=True, capture_output=True, timeout=60)
    port = free_port()
    ports = ["--host", "127.0.0.1", "--port", str(free_port()), "--dicom-port", str(port)]
    with subprocess.Popen([*consilium, "serve", "ingest", *ports], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: process.poll() is not None or sent("echoscu", port), "an echo")
            assert process.poll() is None
        finally:
            process.terminate()
    assert process.returncode == 0


def test_no_other_service_takes_a_dicom_port() -> None:
    with pytest.raises(Invalid, match="Only ingest"):
        run_service("imaging", host="127.0.0.1", port=1, dicom_port=11112)
