#!/usr/bin/env bash
# Creates or updates .venv with the locked versions: bash scripts/dev/setup.sh. Does nothing if it is up to date.
# PYTHON=python3.12 selects the interpreter of a new .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

base_python=${PYTHON:-python3}
expected=$(cat requirements.lock setup.py | sha256sum)
if [ -x .venv/bin/python ] && [ "$(cat .venv/installed 2>/dev/null)" = "$expected" ]; then
    exit 0
fi
if [ ! -x .venv/bin/python ]; then
    if ! "$base_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "error: $base_python is not Python 3.11 or newer: install one and set PYTHON=python3.11" >&2
        exit 1
    fi
    echo "creating .venv"
    "$base_python" -m venv .venv
fi
echo "installing the locked packages into .venv (about 2 GB, some minutes)"
export PYTHONWARNINGS=ignore
.venv/bin/pip install --quiet --upgrade pip
.venv/bin/pip install --quiet --progress-bar on -r requirements.lock
.venv/bin/pip install --quiet --no-deps --editable .
echo "$expected" > .venv/installed
