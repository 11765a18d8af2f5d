"""One OpenAPI document of many services' documents: pure, deterministic, without the inner addresses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

_REF = "#/components/schemas/"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def media_paths() -> dict[str, Any]:
    """Describe WHIP (RFC 9725) and WHEP, whose endpoints are not JSON and stand outside the services' own documents."""
    sdp = {"application/sdp": {"schema": {"type": "string"}}}
    fragment = {"application/trickle-ice-sdpfrag": {"schema": {"type": "string"}}}
    room = {"name": "room_id", "in": "path", "required": True, "schema": {"type": "string"}}
    resource = {**room, "name": "session_id"}
    paths: dict[str, Any] = {}
    for kind, words in (("whip", "Publish into a room"), ("whep", "View a room")):
        paths[f"/{kind}/{{room_id}}"] = {
            "post": {
                "operationId": f"{kind}_open", "summary": f"{words}: SDP offer for SDP answer", "parameters": [room],
                "requestBody": {"required": True, "content": sdp},
                "responses": {"201": {"description": "The answer; Location and ETag name the session.", "content": sdp}},
            }
        }  # fmt: skip
        paths[f"/{kind}/{{room_id}}/{{session_id}}"] = {
            "patch": {
                "operationId": f"{kind}_trickle", "summary": "Add ICE candidates", "parameters": [room, resource],
                "requestBody": {"required": True, "content": fragment},
                "responses": {"204": {"description": "Added."}},
            },
            "delete": {
                "operationId": f"{kind}_close", "summary": "End the session", "parameters": [room, resource],
                "responses": {"200": {"description": "Ended."}},
            },
        }  # fmt: skip
    return {"paths": paths}


def merge_openapi(parts: Mapping[str, Mapping[str, Any]], *, version: str, title: str = "consilium") -> dict[str, Any]:
    """Merge documents by service name (OpenAPI 3.1).

    Paths under ``/internal`` are left out. A schema name that two services use for different things becomes
    ``<Service><Name>`` in the later one; operation ids get the service as a prefix; a path of two services keeps both methods.
    """
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for service in sorted(parts):
        part = copy.deepcopy(dict(parts[service]))
        own = part.get("components", {}).get("schemas", {})
        taken = {name for name, schema in own.items() if name in schemas and schemas[name] != schema}
        renames = {name: f"{service.capitalize()}{name}" for name in taken}
        kept = {path: entry for path, entry in part.get("paths", {}).items() if not path.startswith("/internal")}
        for path, entry in _renamed(kept, renames).items():
            for method, operation in entry.items():
                if method in _METHODS:
                    operation["operationId"] = f"{service}_{operation.get('operationId', method)}"
                    operation["tags"] = operation.get("tags") or [service]
                paths.setdefault(path, {}).setdefault(method, operation)
        for name, schema in _renamed(own, renames).items():
            schemas[renames.get(name, name)] = schema
    used = _reached(paths, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {name: schemas[name] for name in sorted(used)},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
        "security": [{"bearer": []}],
    }


def _renamed(node: Any, renames: Mapping[str, str]) -> Any:
    if not renames:
        return node
    if isinstance(node, dict):
        return {key: _ref(value, renames) if key == "$ref" else _renamed(value, renames) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(entry, renames) for entry in node]
    if isinstance(node, str) and node.startswith(_REF):  # a discriminator's mapping names schemas without $ref
        return _ref(node, renames)
    return node


def _ref(value: str, renames: Mapping[str, str]) -> str:
    name = value.removeprefix(_REF)
    return _REF + renames[name] if value.startswith(_REF) and name in renames else value


def _reached(paths: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    """Return the schemas that the kept paths need."""
    reached: set[str] = set()
    waiting: list[Any] = [paths]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, str) and node.startswith(_REF):
            name = node.removeprefix(_REF)
            if name in schemas and name not in reached:
                reached.add(name)
                waiting.append(schemas[name])
    return reached
