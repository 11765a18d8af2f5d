#!/bin/sh
# Bring OHIF's published build (MIT), the DICOMweb client that the conformance test opens a study with, pinned by hash, into .cache/ohif.
set -eu
package="@ohif/app@3.13.2"
sha256="b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1"
target=".cache/ohif"
[ -s "$target/index.html" ] && exit 0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo "Fetching OHIF for its conformance test ..."
archive=$(cd "$folder" && npm pack --silent "$package")
echo "$sha256  $folder/$archive" | sha256sum --check --quiet -
tar -xzf "$folder/$archive" -C "$folder"
mkdir -p .cache
rm -rf "$target"
mv "$folder/package/dist" "$target"
