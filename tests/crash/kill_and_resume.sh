#!/bin/sh
# Kills a training run at random moments, and inside its saves, and fails its disk: `tests/crash/kill_and_resume.sh [--short]`.
cd "$(dirname "$0")/../.." && exec env PYTHONPATH=. python -m tests.crash.kill_and_resume "$@"
