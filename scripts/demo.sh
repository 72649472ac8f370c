#!/usr/bin/env bash
# A newcomer's first two minutes: sets up, renders a video, finds the moments of its sentences. See --help.
set -euo pipefail
root="$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
. "$root/scripts/env.sh"
exec python -m hf_vtg.demo "$@"
