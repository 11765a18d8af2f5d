"""contracts/site and contracts/events: the schemas are those of the models, and both agree on the golden messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from consilium.contracts import MESSAGES, as_text, schemas
from consilium_core.events import EventType
from consilium_core.site_protocol import Message

ROOT = Path(__file__).parents[2] / "contracts"


def golden(kind: str) -> list[Any]:
    return [
        pytest.param(folder, row["message"], row["body"], id=f"{folder}-{row['message']}-{row.get('why', number)}")
        for folder in MESSAGES
        for number, row in enumerate(json.loads((ROOT / folder / f"{kind}.json").read_text(encoding="utf-8")))
    ]


def schema(folder: str, name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((ROOT / folder / f"{name}.schema.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_schema_files_are_those_of_the_models(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == as_text(schemas()[name]), (
        "run: python -m consilium.contracts contracts"
    )


def test_no_schema_is_left_over() -> None:
    found = {str(p.relative_to(ROOT)) for folder in MESSAGES for p in (ROOT / folder).glob("*.schema.json")}
    assert found == set(schemas())


@pytest.mark.parametrize(("folder", "name", "body"), golden("valid"))
def test_what_may_be_said_is_understood(folder: str, name: str, body: dict[str, Any]) -> None:
    schema(folder, name).validate(body)
    MESSAGES[folder][name].model_validate_json(json.dumps(body))


@pytest.mark.parametrize(("folder", "name", "body"), golden("invalid"))
def test_what_may_not_be_said_is_refused(folder: str, name: str, body: dict[str, Any]) -> None:
    assert not schema(folder, name).is_valid(body)
    with pytest.raises(ValidationError):
        MESSAGES[folder][name].model_validate_json(json.dumps(body))


def test_every_message_has_a_golden_example() -> None:
    for folder, models in MESSAGES.items():
        assert {row.values[1] for row in golden("valid") if row.values[0] == folder} == set(models)
    assert {row.values[2]["type"] for row in golden("valid") if row.values[0] == "events"} == {
        t.value for t in EventType
    }


def test_every_site_message_takes_fields_of_a_newer_peer() -> None:
    for model in MESSAGES["site"].values():
        assert issubclass(model, Message)
        assert model.model_config["extra"] == "ignore"
