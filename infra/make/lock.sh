#!/bin/sh
# Resolve pyproject.toml and requirements/dev.in into hash-pinned locks that name no host and no folder.
set -eu
cd "$(dirname "$0")/../.."
export CUSTOM_COMPILE_COMMAND="make lock"
flags="--quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options"
compile="${CONSILIUM_COMPILE:-.venv/bin/pip-compile}"
# shellcheck disable=SC2086
"$compile" $flags "$@" --extra all -o requirements/runtime.txt pyproject.toml
# The project's own extras refer to each other, so the resolver lists the project itself: a folder has no hash, take it out.
sed -i -e '/^consilium @ /,/^    # via consilium/d' -e '/^# WARNING: pip install/d' -e '/^# Consider using a hashable/d' requirements/runtime.txt
# shellcheck disable=SC2086
"$compile" $flags "$@" -o requirements/build.txt requirements/build.in
# shellcheck disable=SC2086
"$compile" $flags "$@" -o requirements/dev.txt requirements/dev.in
