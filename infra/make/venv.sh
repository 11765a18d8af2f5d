#!/bin/sh
# Make the virtual environment, or say in one sentence what is missing and who can mend it.
set -eu
if ! command -v "$PYTHON" >/dev/null 2>&1; then
    echo "consilium needs Python 3.11 or newer: apt-get install python3 python3-venv" >&2
    exit 1
fi
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "consilium needs Python 3.11 or newer; $PYTHON is $("$PYTHON" -V). Set PYTHON=/path/to/python3.11." >&2
    exit 1
}
echo "Making the virtual environment ..."
if ! "$PYTHON" -m venv "$VENV" 2>/dev/null; then
    rm -rf "$VENV"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
        "$PYTHON" -m venv "$VENV" || { rm -rf "$VENV"; exit 1; }
    else
        echo "Python's venv module is missing: sudo apt-get install python3-venv" >&2
        exit 1
    fi
fi
