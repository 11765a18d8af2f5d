"""``consilium verify-receipt``: a storage receipt is checked with the public keys alone, no server and no database."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from consilium.state import data_folder
from consilium_archive.receipt import verify_receipt
from consilium_core.errors import Invalid
from consilium_platform.statements import MAX_STATEMENT_BYTES

ALL_KEPT, SOME_ARE_NOT = 0, 3
_LARGEST = 4 * MAX_STATEMENT_BYTES  # the readable part beside the signed one


def verify(receipt: Path, keys_file: Path | None, data: Path | None) -> int:
    """Print what a genuine receipt says; return the exit status. Raise Invalid for one that is not, or whose keys can't be read."""
    file = keys_file or data_folder(data) / "keys" / "verify.json"
    try:
        keys = KeySet.import_key_set(json.loads(_text(file)))
    except (ValueError, KeyError, TypeError, JoseError) as problem:
        raise Invalid(f"{file} holds no public keys (JWK set).") from problem
    found = verify_receipt(_text(receipt), keys)
    sys.stdout.write("\n".join([*_lines(found.content), f"Signed by {found.key_id}", f"  {found.thumbprint}"]) + "\n")
    return SOME_ARE_NOT if found.content["not_committed"] else ALL_KEPT


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST:
            raise Invalid(f"{file} is too large.")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise Invalid(f"{file} can't be read.") from problem


def _lines(content: dict[str, Any]) -> list[str]:
    [(kind, uid)] = content["subject"].items()
    asked = content["requested_by"]
    lines = [
        "The receipt is genuine.",
        f"{kind.replace('_', ' ')} {uid}",
        f"Asked by {asked['name']} ({asked['role']}) at {content['requested_at']}, decided at {content['decided_at']}",
        f"{content['committed']} kept, {content['not_committed']} not",
    ]
    for one in content["instances"]:
        state = "kept" if one["committed"] else f"NOT kept, {one['why']} ({one['failure_reason']}H)"
        lines.append(f"  {one['sop_instance_uid']} {one['sha256'] or '-'} {one['size_bytes'] or 0} {state}")
    return lines
