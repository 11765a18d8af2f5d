#!/bin/sh
# Lint the chart and validate what it renders: with its own values, and with every option on (tests/chart/full.yaml).
# Helm is built from source by Go, pinned here, once per machine: into the user's cache folder. Without a Go that can build it the step
# is left out, and says so.
set -eu
cd "$(dirname "$0")/../.."
: "${BIN:=.venv/bin}"
PATH="$PATH:/usr/local/go/bin"  # where Go's own archive is unpacked
version=v4.0.4
needed=1.24  # the Go that this version's go.mod asks for
kubernetes=1.34
cache="${XDG_CACHE_HOME:-${HOME:-$PWD/.cache}/.cache}/consilium/bin"
helm="$cache/helm-$version"
if [ ! -x "$helm" ]; then
    go_version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed 's/^go//') || go_version=""
    if [ -z "$go_version" ]; then
        echo "The chart is not checked: helm is built by Go, and Go is not installed (https://go.dev/doc/install)."
        exit 0
    fi
    if [ "$(printf '%s\n' "$needed" "$go_version" | sort -V | head -n 1)" != "$needed" ]; then
        echo "The chart is not checked: helm is built by Go $needed or newer, and this one is $go_version (https://go.dev/doc/install)."
        exit 0
    fi
    echo "Building helm $version (minutes, once per machine) ..."
    mkdir -p "$cache"
    folder=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$folder"' EXIT
    GOBIN="$folder" go install "helm.sh/helm/v4/cmd/helm@$version" >"$folder/log" 2>&1 || { tail -n 20 "$folder/log" >&2; exit 1; }
    mv "$folder/helm" "$helm"
fi
[ "${1:-}" = "--helm-only" ] && { echo "$helm"; exit 0; }
rendered=$(mktemp)
trap 'rm -f "$rendered"; rm -rf "${folder:-}"' EXIT
for values in charts/consilium/values.yaml tests/chart/full.yaml; do
    "$helm" lint --strict --quiet charts/consilium -f "$values"
    "$helm" template consilium charts/consilium --namespace consilium --kube-version "$kubernetes.0" -f "$values" >"$rendered"
    "$BIN/kubernetes-validate" --strict --quiet -k "$kubernetes" "$rendered"
done
