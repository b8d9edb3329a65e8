#!/bin/sh
# Pins the newest allowed versions, with hashes, for every Python from 3.11 and every system. No registry is named in the result:
# each machine uses its own.
set -eu

tools=.lock-venv
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/python" -m pip --disable-pip-version-check --quiet install uv
for pair in run:build dev:dev; do
    "$tools/bin/uv" pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        --group "${pair#*:}" --output-file "requirements/${pair%:*}.txt" pyproject.toml
done
rm -rf "$tools"
