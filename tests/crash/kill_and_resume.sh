#!/usr/bin/env bash
# Kills a training run at random moments and during saves, and makes its disk fail:
#   bash tests/crash/kill_and_resume.sh [--short]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=python
if [ -x .venv/bin/python ]; then
    python=.venv/bin/python
fi
exec "$python" -m tests.crash.kill_and_resume "$@"
