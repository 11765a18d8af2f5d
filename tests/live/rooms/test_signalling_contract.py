"""contracts/signalling pins the frames of `consilium.room.v1`: schemas from our models, fixtures that they take and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from consilium_live.errors import Malformed
from consilium_live.wire import client, export
from consilium_live.wire.server import SERVER_MESSAGE, frame

FOLDER = Path(__file__).parents[3] / "contracts" / "signalling"


def rows(name: str) -> list[Any]:
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(row["frame"], id=row.get("rule") or row["why"]) for row in found]


def validator(side: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / f"{side}-message.schema.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["client-message.schema.json", "server-message.schema.json"])
def test_the_schema_files_are_those_of_the_models(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == export.as_text(export.schemas()[name]), (
        "run: python -m consilium_live.wire.export contracts/signalling"
    )


@pytest.mark.parametrize("message", rows("client-valid"))
def test_the_server_understands_what_clients_may_say(message: dict[str, Any]) -> None:
    assert client.read(json.dumps(message)).type == message["type"]
    validator("client").validate(message)


@pytest.mark.parametrize("message", rows("client-invalid"))
def test_the_server_refuses_what_clients_may_not_say(message: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        client.read(json.dumps(message))
    assert not validator("client").is_valid(message)


@pytest.mark.parametrize("message", rows("server-valid"))
def test_what_the_server_says_is_exactly_the_fixture(message: dict[str, Any]) -> None:
    assert json.loads(frame(SERVER_MESSAGE.validate_python(message)).text) == message
    validator("server").validate(message)


@pytest.mark.parametrize("message", rows("server-invalid"))
def test_the_server_cannot_say_what_is_not_in_the_contract(message: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SERVER_MESSAGE.validate_python(message)
    assert not validator("server").is_valid(message)


@pytest.mark.parametrize("side", ["client", "server"])
def test_every_message_of_the_contract_has_a_fixture(side: str) -> None:
    schema = json.loads((FOLDER / f"{side}-message.schema.json").read_text(encoding="utf-8"))
    assert set(schema["discriminator"]["mapping"]) == {row.values[0]["type"] for row in rows(f"{side}-valid")}
