#!/bin/sh
# Kills a training run at random moments, and inside its saves, and fails its disk: `scripts/torture.sh [--short]`.
cd "$(dirname "$0")/.." && exec env PYTHONPATH=. python -m scripts.torture "$@"
