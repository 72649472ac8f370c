#!/usr/bin/env bash
# The shipped encoder and model of moving_shapes from nothing, the three floors, and their figures on test.
# Measured on two CPU cores that others used too: videos 1 minute, encoder 13, features 6, model 10.
#
# scripts/train_moving_shapes.sh [WORK [OPTIONS of train_moving_shapes.py]]
# A trial of all stages in a minute: scripts/train_moving_shapes.sh /tmp/trial --steps 1 --epochs 1 --num_train 12 --num_videos 2
set -euo pipefail
cd "$(dirname "$0")/.."
work="${1:-outputs/moving_shapes}"
shift || true
python="${PYTHON:-.venv/bin/python}"
"$python" scripts/train_moving_shapes.py --work "$work" "$@"
for blind in query video; do
    "$python" scripts/train_moving_shapes.py --work "$work" --stages grounding report --blind "$blind" "$@"
done
