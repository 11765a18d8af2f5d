#!/bin/sh
# Run a tool of this folder with the Node that package-lock.json pins, whatever Node the machine has.
here=$(cd "$(dirname "$0")" && pwd)
for pinned in "$here"/node_modules/node-linux-*/bin/node; do
    [ -x "$pinned" ] && exec "$pinned" "$@"
done
exec node "$@"
