"""Logs: the last line of defence takes secrets and patients out of what is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from consilium_platform.telemetry import set_up_logging

TOKEN = "eyJhbGciOiJFZDI1NTE5In0.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Configure JSON logging for the test."""
    before = structlog.get_config()
    set_up_logging("json", "info")
    yield
    structlog.configure(**before)


def written(capsys: pytest.CaptureFixture[str], **fields: Any) -> dict[str, Any]:
    """Log one line and return it."""
    structlog.get_logger().info("something_happened", **fields)
    line: dict[str, Any] = json.loads(capsys.readouterr().err.strip())
    return line


@pytest.mark.parametrize(
    "key", ["token", "access_token", "password", "refresh_secret", "Authorization", "set_cookie", "sdp", "patient_id", "patient_name", "birth_date", "enrolment_code"]
)  # fmt: skip
def test_fields_that_are_secret_by_name_are_never_written(capsys: pytest.CaptureFixture[str], key: str) -> None:
    assert written(capsys, **{key: "canary"})[key] == "[redacted]"


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {TOKEN}",
        {"headers": {"x": f"got {TOKEN}"}},
        [{"authorization": "canary"}],
        ("postgresql://u:canary@db/x",),
    ],
)
def test_secrets_inside_values_are_taken_out_however_deep(capsys: pytest.CaptureFixture[str], value: Any) -> None:
    line = json.dumps(written(capsys, detail=value))
    assert "canary" not in line
    assert TOKEN not in line
    assert "[redacted]" in line


def test_a_token_in_an_exceptions_words_is_taken_out(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.get_logger().error("failed", exc_info=ValueError(f"bad token {TOKEN}"))
    line = capsys.readouterr().err
    assert TOKEN not in line
    assert "bad token [redacted]" in line


def test_ordinary_facts_are_written_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    line = written(capsys, room="demo", size_bytes=7, url="http://127.0.0.1:8080/x", ids=["a", "b"], nothing=None)
    assert (line["event"], line["level"]) == ("something_happened", "info")
    assert (line["room"], line["size_bytes"], line["url"], line["ids"]) == (
        "demo",
        7,
        "http://127.0.0.1:8080/x",
        ["a", "b"],
    )
    assert line["timestamp"].endswith("Z")
