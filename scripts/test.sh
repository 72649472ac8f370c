#!/usr/bin/env bash
# All checks: lint, format, tests. Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/env.sh
ruff check .
ruff format --check .
exec python -m pytest "$@"
