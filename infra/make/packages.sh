#!/bin/sh
# Install the Debian packages that the tests use: real servers, judges of our DICOM and our alerts, a browser, containers.
# Exit 0: all are there; 3: some are not, and it has been said how to get them (the tests that need them are skipped).
set -eu
packages="chromium dcmtk orthanc dicom3tools redis-server postgresql radosgw ceph-mon ceph-osd ceph-common
fonts-noto-cjk podman buildah runc crun debootstrap poppler-utils prometheus"
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing Debian packages for the tests:$missing"
    # shellcheck disable=SC2086
    if apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
        exit 0
    fi
    echo "They could not be installed; tests without them are skipped." >&2
    [ -n "${CI:-}" ] && exit 1
else
    echo "The tests need these Debian packages; tests without them are skipped. Install them with:" >&2
    echo "  sudo apt-get install --no-install-recommends$missing" >&2
fi
exit 3
