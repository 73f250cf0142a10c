#!/usr/bin/env bash
# Runs everything that has to pass: style, format, spelling, types, tests. Creates or updates .venv first. Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/dev/setup.sh
export OMP_NUM_THREADS=1 # one test per core, each on one thread
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/codespell
.venv/bin/mypy
.venv/bin/python -m pytest -n auto "$@"
