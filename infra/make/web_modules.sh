#!/bin/sh
# Install the locked web packages. npm leaves out optional packages that the running Node is too old for, and the build needs some of
# them (Debian 12's own Node is 18). Then a second pass is run by the Node that package-lock.json pins, with an npm pinned here.
set -eu
npm_version=10.9.3
npm_sha256=7df781ff358e20e79cd9a51907bc4dacc9238f149a936d997bbb34d4dc0ac002
root="$(cd "$(dirname "$0")/../.." && pwd)"
"$root/infra/make/node.sh"
cd "$root/web"
npm ci --no-audit --no-fund --loglevel=error
node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
process.exit(major >= 24 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19) ? 0 : 1)' && exit 0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for pinned in node_modules/node-linux-*/bin/node; do
    [ -x "$pinned" ] && "$pinned" --version >/dev/null 2>&1 && cp "$pinned" "$folder/node"
done
if [ ! -x "$folder/node" ]; then
    echo "The web client is built by Node 20.19, 22.12 or newer; this one is $(node --version), and none is pinned for $(uname -m)." >&2
    exit 1
fi
archive=$(cd "$folder" && npm pack --silent "npm@$npm_version")
echo "$npm_sha256  $folder/$archive" | sha256sum --check --quiet -
tar -xzf "$folder/$archive" -C "$folder"
PATH="$folder:$PATH" "$folder/node" "$folder/package/bin/npm-cli.js" ci --no-audit --no-fund --loglevel=error
