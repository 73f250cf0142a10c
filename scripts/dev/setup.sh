#!/usr/bin/env bash
# Makes .venv in the project's root with the locked versions, or reuses it; prints nothing when all is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

wanted=$(cat requirements.lock setup.py | sha256sum)
if [ -x .venv/bin/python ] && [ "$(cat .venv/installed 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
if [ ! -x .venv/bin/python ]; then
    echo "making .venv (Python 3.11 or newer)"
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "error: ${PYTHON:-python3} is older than Python 3.11: install a newer one and name it: PYTHON=python3.11 $0" >&2
        exit 1
    }
    "${PYTHON:-python3}" -m venv .venv
fi
echo "installing the locked packages into .venv (about 2 GB, some minutes)"
PYTHONWARNINGS=ignore .venv/bin/pip install --quiet --upgrade pip
PYTHONWARNINGS=ignore .venv/bin/pip install --quiet --progress-bar on -r requirements.lock
PYTHONWARNINGS=ignore .venv/bin/pip install --quiet --no-deps --editable .
echo "$wanted" > .venv/installed
