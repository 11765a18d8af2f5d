#!/bin/sh
# Everything that must hold before a test runs. Each step prints its name; the first failure stops.
set -eu
: "${BIN:=.venv/bin}"
step() { echo "== $1"; shift; "$@"; }
no_hosts() {
    if grep -nE 'https?://|--index-url|--find-links|--trusted-host|@ file:' requirements/*.txt; then
        echo "A Python lock names a host or a folder: run make lock." >&2; return 1
    fi
    if grep -nE '"resolved": *"' web/package-lock.json; then
        echo "web/package-lock.json names a host: omit-lockfile-registry-resolved must be true in web/.npmrc." >&2; return 1
    fi
}
same_api() {
    "$BIN/consilium" openapi | diff -u contracts/openapi/consilium.json - || {
        echo "The API has changed: run make openapi and commit the result." >&2; return 1
    }
    (cd web && npm run --silent gen:check)
}
step "Python format" "$BIN/ruff" format --check --quiet cli libs services tests loadtest
step "Python lint" "$BIN/ruff" check --quiet cli libs services tests loadtest
step "Python types" "$BIN/mypy"
step "Import contracts" "$BIN/lint-imports"
step "Locks without hosts" no_hosts
step "API types" same_api
step "Web format, lint, types" npm --prefix web run --silent check
step "Chart" infra/make/chart.sh
step "House rules" "$BIN/python" -m pytest -q tests/test_house.py
