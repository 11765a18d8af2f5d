"""The receipt as a page to read and print: one HTML file, no script, nothing from elsewhere, every value escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from typing import Any

from consilium_archive.commitment import StudyFacts
from consilium_ingest.commitment.words import LABELS, PLACES, WHY, Language

_STYLE = """
body{font:13px/1.45 "Noto Sans SC","Noto Sans CJK SC","PingFang SC","Microsoft YaHei",Arial,sans-serif;color:#111;margin:24px auto;max-width:1080px}
h1{font-size:22px;margin:0 0 8px}h2{font-size:14px;margin:16px 0 4px}
.verdict{font-size:17px;font-weight:700;padding:10px 12px;border:2px solid;margin:10px 0}
.good{color:#0a5c2b}.bad{color:#a40000}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:0}dt{color:#555}dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin:4px 0}th,td{border:1px solid #999;padding:3px 5px;text-align:left;vertical-align:top}
th{background:#eee}.code{font-family:"DejaVu Sans Mono",Consolas,monospace;font-size:10.5px;overflow-wrap:anywhere}
thead{display:table-header-group}tr{break-inside:avoid}footer{color:#555;margin-top:10px}
@media print{@page{size:A4 landscape;margin:12mm}body{margin:0;max-width:none;font-size:10.5px}th{background:none}}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'self'; base-uri 'none'",
}


def receipt_page(
    content: dict[str, Any], jws: str, key: tuple[str, str], studies: Sequence[StudyFacts], language: Language
) -> str:
    """Return the page; ``key`` is (key id, RFC 7638 thumbprint)."""
    words = LABELS[language]
    missing, committed = content["not_committed"], content["committed"]
    verdict = words["some" if missing else "all"].format(missing=missing, total=missing + committed)
    asked, subject = content["requested_by"], content["subject"]
    name = "transaction" if "transaction_uid" in subject else "study"
    who = " ".join(part for part in (asked["name"], f"({asked['role']})", asked["origin"], asked["address"]) if part)
    facts = [
        (words[name], subject[f"{name}_uid"]),
        (words["asked_by"], who),
        (words["asked_at"], _time(content["requested_at"])),
        (words["decided_at"], _time(content["decided_at"])),
    ]
    signature = [
        (words["key"], key[0]),
        (words["thumbprint"], key[1]),
        (words["digest"], hashlib.sha256(jws.encode()).hexdigest()),
    ]
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{words["title"]}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{words['title']}</h1>"
        f'<p class="verdict {"bad" if missing else "good"}">{escape(verdict)}</p>'
        f"<p>{words['count'] if name == 'study' else ''}</p>"
        f"{_facts(facts)}{_studies(studies, words)}{_instances(content['instances'], language)}"
        f"<h2>{words['signature']}</h2>{_facts(signature)}"
        f"<footer><p>{words['check']} {words['utc']}</p></footer></body></html>"
    )


def _facts(rows: Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f'<dt>{label}</dt><dd class="code">{escape(text)}</dd>' for label, text in rows) + "</dl>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{one}</th>" for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _studies(studies: Sequence[StudyFacts], words: dict[str, str]) -> str:
    if not studies:
        return ""
    rows = [
        [_code(one.study_uid), escape(one.patient_id), escape(one.accession_number), escape(_date(one.study_date))]
        for one in studies
    ]
    heads = [words["study"], words["patient"], words["accession"], words["date"]]
    return f"<h2>{words['studies']}</h2>{_table(heads, rows)}"


def _instances(instances: Sequence[dict[str, Any]], language: Language) -> str:
    words, places, why = LABELS[language], PLACES[language], WHY[language]
    rows = []
    for number, one in enumerate(instances, 1):
        lies = " / ".join(places.get(one[place] or "", "-") for place in ("first", "copy"))
        verdict = words["committed"] if one["committed"] else f"{why[one['why']]} ({one['failure_reason']}H)"
        kind = "good" if one["committed"] else "bad"
        rows.append(
            [
                str(number), f"{_code(one['sop_instance_uid'])}<br>{_code(one['sop_class_uid'])}", _code(one["sha256"] or "-"),
                f"{one['size_bytes']:,}" if one["size_bytes"] else "-", _time(one["stored_at"]) if one["stored_at"] else "-",
                lies, f'<span class="{kind}">{escape(verdict)}</span>',
            ]
        )  # fmt: skip
    heads = [words[name] for name in ("number", "instance", "hash", "size", "stored", "places", "state")]
    return _table(heads, rows)


def _code(text: str) -> str:
    return f'<span class="code">{escape(text)}</span>'


def _time(at: str) -> str:
    return escape(at[:19].replace("T", " "))


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 else text
