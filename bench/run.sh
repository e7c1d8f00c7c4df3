#!/usr/bin/env bash
# What `make bench` runs: the whole bench kit with short legs, on the embedded backend; up to 10 minutes.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/run.py" kit --short --seconds 1.5 --stocks 1000,10000,100000 "$@"
