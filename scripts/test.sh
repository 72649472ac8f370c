#!/usr/bin/env bash
# All checks: lint, format, tests on two processes. --quick leaves out the slow ones, --all adds the long ones; further
# arguments go to pytest.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
which="not long"
case "${1:-}" in
    --quick) which="not long and not slow" && shift ;;
    --all) which="long or not long" && shift ;;
esac
. scripts/env.sh
# The browser tests need Debian's Chromium; where it cannot be had they are skipped, and say so.
if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    (apt-get -q update && apt-get -q -y --no-install-recommends install chromium) >/dev/null 2>&1 ||
        echo "test.sh: no chromium; the browser tests are skipped" >&2
fi
ruff check .
ruff format --check .
# The processes share the cores: more threads would wait for each other.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec python -m pytest --numprocesses "${HF_VTG_TEST_PROCESSES:-2}" --dist loadgroup -m "$which" "$@"
