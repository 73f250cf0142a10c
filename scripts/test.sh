#!/usr/bin/env bash
# Everything that must pass: style, types, tests. Sets .venv up first; extra arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/dev/setup.sh
export OMP_NUM_THREADS=1  # as many tests at a time as there are cores, each on one
.venv/bin/ruff check .
.venv/bin/mypy
.venv/bin/python -m pytest -n auto "$@"
