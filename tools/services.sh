#!/bin/sh
# Usage: sh tools/services.sh
# Installs what tests need beyond Python packages; `tests/services.py` names the tests that are skipped without. What is
# there already is left alone. Add a line for each program: its command, and the Debian package that brings it.
set -eu

packages=""
need() {
    command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}

need strace strace # counts the calls that wait for the disk
need pgbouncer pgbouncer # a pooler between a store and its database
need ip iproute2 # networks of their own, which can be cut
need chromium chromium # looks at the page as a person does
ls /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf >/dev/null 2>&1 || packages="$packages fonts-dejavu-core" # and its signs
# The programs of the server are in a folder that is not on the PATH.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages="$packages postgresql"

# The program that checks the page for people who cannot see it comes with what the page is built with.
if [ ! -e page/node_modules/axe-core/axe.min.js ]; then
    if command -v npm >/dev/null 2>&1; then
        (cd page && npm ci --silent)
    else
        echo "npm is missing, and with it axe-core: the tests that need it are skipped." >&2
    fi
fi

if [ -z "$packages" ]; then
    echo "All programs that tests need are there."
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing:$packages. This system has no apt-get; install them by its own means." >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "Missing:$packages. Install them as root: apt-get install$packages" >&2
        exit 1
    fi
    as_root="sudo"
fi
echo "Installing$packages ..."
$as_root apt-get update -qq
# shellcheck disable=SC2086 - one word a package
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages
