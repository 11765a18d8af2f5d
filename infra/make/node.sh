#!/bin/sh
# Check for Node and npm; the version that the web client is built with is pinned inside web/package-lock.json.
set -eu
if ! command -v npm >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
    else
        echo "The web client needs Node and npm: sudo apt-get install nodejs npm" >&2
        exit 1
    fi
fi
