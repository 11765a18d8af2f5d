#!/bin/sh
# Install Debian's Orthanc with its DICOMweb plugin, the peer of make bench-archive; its service is not started.
set -eu
packages="orthanc orthanc-dicomweb"
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing the peer of the benchmark:$missing" >&2
    # shellcheck disable=SC2086
    apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    exit 0
fi
echo "The benchmark compares with Orthanc; install it with:" >&2
echo "  sudo apt-get install --no-install-recommends$missing" >&2
exit 3
