#!/usr/bin/env bash
# Runs all checks: lint, format, spelling, types, tests. Creates or updates .venv first. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/dev/setup.sh
export OMP_NUM_THREADS=1 # pytest-xdist runs one worker per core
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/codespell
.venv/bin/mypy
.venv/bin/python -m pytest -n auto "$@"
