#!/usr/bin/env bash
# All checks: lint, format, tests. Further arguments go to pytest.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/env.sh
# The browser tests need Debian's Chromium; where it cannot be had they are skipped, and say so.
if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    (apt-get -q update && apt-get -q -y --no-install-recommends install chromium) >/dev/null 2>&1 ||
        echo "test.sh: no chromium; the browser tests are skipped" >&2
fi
ruff check .
ruff format --check .
exec python -m pytest "$@"
