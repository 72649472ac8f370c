#!/usr/bin/env bash
# The shipped encoder and model of moving_shapes from nothing, the three floors, and their figures on test.
# Two CPU cores: about 45 minutes, and 15 more for the floors.
set -euo pipefail
cd "$(dirname "$0")/.."
work="${1:-outputs/moving_shapes}"
python="${PYTHON:-.venv/bin/python}"
"$python" scripts/train_moving_shapes.py --work "$work"
for blind in query video; do
    "$python" scripts/train_moving_shapes.py --work "$work" --stages grounding report --blind "$blind"
done
