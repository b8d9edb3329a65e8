#!/bin/sh
# Usage: VENV=.venv PYTHON= sh tools/venv.sh run|dev
# Makes $VENV hold what requirements/run.txt or dev.txt pins, plus this checkout, editable. Does nothing when it already does.
set -eu

set_name=$1
lock="requirements/$set_name.txt"
projects="."
[ -f bridge/agently/pyproject.toml ] && projects=". bridge/agently"

# The stamp names everything the environment was made from; the folder is part of it because an environment cannot be moved.
fingerprint() {
    { pwd; cat "requirements/$1.txt"; for project in $projects; do cat "$project/pyproject.toml"; done; } | git hash-object --stdin
}
stamp="$VENV/.stamp-$set_name-$(fingerprint "$set_name")"
dev_stamp="$VENV/.stamp-dev-$(fingerprint dev)" # dev.txt holds all that run.txt does
works() { "$VENV/bin/python" -m pip --version >/dev/null 2>&1; }

if { [ -f "$stamp" ] || [ -f "$dev_stamp" ]; } && "$VENV/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

find_python() {
    # Run each: a name on the PATH may be a shim for a version that is not there, or a Python without its venv module.
    old_enough=""
    # A name that was asked for may be a shim of pyenv for a version that is installed, but not switched on.
    installed=""
    [ -n "${PYTHON:-}" ] && installed=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/"$PYTHON" 2>/dev/null || true)
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python} $installed; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        old_enough=$candidate
        "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1 && { echo "$candidate"; return; }
    done
    if [ -n "$old_enough" ]; then
        echo "$old_enough has no venv module. Install it (Debian, Ubuntu: the package python3-venv), then run make again." >&2
    elif [ -n "${PYTHON:-}" ]; then
        echo "PYTHON=$PYTHON is not a working Python 3.11 or newer. Name another one: make PYTHON=/path/to/python3." >&2
    else
        echo "No Python 3.11 or newer found. Install one, or name it: make PYTHON=/path/to/python3." >&2
    fi
    exit 1
}

# A finished environment is brought up to date in place; one that was never finished, or lost its Python, is made anew.
# One that somebody has made by hand stays as it is.
ours="$VENV/.made-by-make"
if ! { ls "$VENV"/.stamp-* >/dev/null 2>&1 && works; }; then
    if [ ! -e "$ours" ] && ! ls "$VENV"/.stamp-* >/dev/null 2>&1 && works; then
        echo "$VENV is an environment that make has not made. Remove it, or name another one: make VENV=.venv-make." >&2
        exit 1
    fi
    python=$(find_python)
    echo "Creating $VENV with $("$python" --version) ..."
    "$python" -m venv --clear "$VENV"
    touch "$ours"
fi
rm -f "$VENV"/.stamp-*
echo "Installing $lock ..."
pip="$VENV/bin/python -m pip --disable-pip-version-check --quiet"
$pip install --require-hashes --no-deps -r "$lock"
for project in $projects; do
    $pip install --no-build-isolation --no-deps --editable "$project"
done
touch "$stamp"
